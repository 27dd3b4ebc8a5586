"""Data references of watsonx: {id, type, connection, location} as inputs and outputs of a run."""

from __future__ import annotations

import re
from typing import NoReturn

from millrace.api.rundata import Input, Output
from millrace.domain.convert.fields import Field, Object, Options, excluded, place
from millrace.domain.names import dns_name
from millrace.domain.references import AssetReference, ReferenceRejected, parse

_TYPES = ("data_asset", "connection_asset", "container", "fs", "url")
_FIELDS = ("id", "type", "connection", "location")
_SCHEMA = {"schema": "has no counterpart: inputs and outputs are files of any format"}
_CREDENTIALS = dict.fromkeys(
    ("access_key", "access_key_id", "api_key", "password", "secret_access_key", "secret_key", "token", "username"),
    "credentials do not belong into a manifest: a DataStore names the Secret that has them",
)
_TABLES = dict.fromkeys(
    ("schema_name", "select_statement", "table_name"),
    "tables of databases are not supported; export it to a file of a store",
)
_ASSET = re.compile(r"(?:https://[^/]+)?/v2/assets/(?P<id>[^/?#]+)(?:\?space_id=(?P<space>[^&#]+))?")
_UNKNOWN = "means nothing here"


class Locations:
    """Where the data of one payload is. `notes` are what a person should know of the conversion."""

    def __init__(self, options: Options, space: str | None) -> None:
        self.notes: list[str] = []
        self._options, self._space = options, space
        self._buckets: dict[str, str] = {}

    def named(self, of: Field) -> str:
        """The name that ours has for a name of theirs."""
        name = dns_name(of.text())
        if not name:
            of.refuse("no name can be made of it: it has no letter and no digit of ASCII")
        if name != of.value:
            self.notes.append(f"{of.path}: {of.value} is named {name}")
        return name

    def input(self, reference: Field, number: int) -> Object:
        """An entry of spec.inputs. What is in a connection is left to the script; what is of the space is staged."""
        found = reference.members(_FIELDS, _SCHEMA)
        name = self.named(found["id"]) if "id" in found else f"input-{number}"
        match _type(reference):
            case "data_asset":
                entry: Object = {"asset": self._asset(reference)}
            case "container":
                entry = {"dataStore": self._in_space(reference), "stage": "Download"}
            case "url":
                entry = {"uri": _address(reference), "type": "uri_file"}
            case _:
                entry = {"dataStore": self._connected(reference), "stage": "Never"}
                if "file_name" in reference.value["location"]:
                    entry["type"] = "uri_file"
        return reference.checked(Input, {"name": name, **entry})

    def output(self, reference: Field, number: int) -> Object:
        """An entry of spec.outputs: a name is an asset that we upload, all else is left to the script and only announced."""
        found = reference.members(_FIELDS, _SCHEMA)
        kind, location = _type(reference), reference.member("location")
        given = location.value if isinstance(location.value, dict) else {}
        if kind == "container":
            location.refuse("an output in the space's own storage is a data asset", "type data_asset, and location.name")
        if kind in {"connection_asset", "fs"} and not given.get("href"):
            connected = self._connected(reference)
            entry: Object = {"href": f"{connected['name']}/paths/{connected['path']}"}
            name = f"output-{number}"
        else:
            fields = location.members(("name", "href"), {"description": "has no counterpart; leave it out"})
            if len(fields) != 1:
                location.refuse("exactly one of name (it is uploaded) and href (the script uploads) is expected")
            _no_connection(reference)
            if "name" in fields:
                name = self.named(fields["name"])
                entry = {"asset": name}
            else:
                entry, name = {"href": _href(fields["href"])}, f"output-{number}"
        name = self.named(found["id"]) if "id" in found else name
        return reference.checked(Output, {"name": name, **entry})

    def _asset(self, reference: Field) -> str:
        """The asset of ours that a data asset of the space is."""
        _no_connection(reference)
        location = reference.member("location")
        location.members(("href",))
        href = location.member("href")
        found = _ASSET.fullmatch(href.text())
        if not found:
            href.refuse("/v2/assets/ASSET_ID?space_id=SPACE_ID is expected")
        if found["space"] and self._space and found["space"] != self._space:
            href.refuse("it is of another space; a run reads what is in its own namespace")
        known = self._options.assets.get(found["id"])
        if known is None:
            href.refuse(f"the id {found['id']} {_UNKNOWN}", f"--asset {found['id']}=NAME says which DataAsset it is")
        return known

    def _connected(self, reference: Field) -> Object:
        """A place in the DataStore that stands for a connection, or for one of its buckets."""
        connection, location = reference.member("connection"), reference.member("location")
        connection.members(("id", "href"), _CREDENTIALS)
        found = location.members(("bucket", "file_name", "path"), _TABLES)
        key = connection.member("id")
        bucket = found["bucket"].text() if "bucket" in found else ""
        exact = f"{key.text()}/{bucket}"
        store = self._options.stores.get(exact) or self._options.stores.get(key.text())
        if store is None:
            key.refuse(f"the id {key.value} {_UNKNOWN}", f"--store {key.value}=STORE says which DataStore it is")
        if bucket and self._buckets.setdefault(store, bucket) != bucket:
            hint = f"a DataStore has one: --store {exact}=STORE names another for this one"
            found["bucket"].refuse(f"DataStore {store} stands for the bucket {self._buckets[store]} already", hint)
        if bucket:
            self.notes.append(f"{found['bucket'].path}: DataStore {store} must be the bucket {bucket}")
        return {"name": store, "path": _path(location, found)}

    def _in_space(self, reference: Field) -> Object:
        """A place in the storage of the space itself."""
        _no_connection(reference)
        location = reference.member("location")
        found = location.members(("path",))
        store = self._options.stores.get(self._space or "")
        if store is None:
            hint = f"--store {self._space or 'SPACE_ID'}=STORE says which DataStore it is"
            location.refuse(f"the space's own storage {_UNKNOWN}", hint)
        return {"name": store, "path": _path(location, found)}


def _type(reference: Field) -> str:
    kind = reference.member("type")
    if kind.value not in _TYPES:
        kind.refuse(excluded(kind.value) or f"one of {', '.join(_TYPES)} is expected")
    return str(kind.value)


def _path(location: Field, found: dict[str, Field]) -> str:
    paths = [found[key] for key in ("file_name", "path") if key in found]
    if len(paths) != 1:
        location.refuse("exactly one of file_name and path is expected")
    return place(paths[0])


def _no_connection(reference: Field) -> None:
    if reference.member("connection").value:
        reference.member("connection").refuse("goes with bucket, file_name and path of a connection_asset only")


def _address(reference: Field) -> str:
    """The https address of a file, of a connection there or of a location in our own payload."""
    connection, location = reference.member("connection"), reference.member("location")
    url = connection.member("url") if connection.value else location.member("href")
    if connection.value:
        found = connection.members(
            ("url", "verb"), {"headers": "a file is fetched without any; credentials are a DataStore's"}
        )
        if "verb" in found and found["verb"].value != "GET":
            found["verb"].refuse("a file is fetched with GET")
        if location.value:
            location.refuse("goes without a connection that has a url")
    else:
        location.members(("href",))
    try:
        parse(url.text())
    except ReferenceRejected as error:
        url.refuse(str(error))
    if not url.text().startswith("https://"):
        url.refuse("the https address of a file is expected", "any other place is one in a DataStore: type connection_asset")
    return url.text()


def _href(href: Field) -> str:
    if re.search(r"/v2/(assets|connections)/", href.text()):
        _no_href(href, f"an id of watsonx {_UNKNOWN}")
    try:
        reference = parse(href.text())
    except ReferenceRejected as error:
        _no_href(href, str(error))
    if isinstance(reference, AssetReference):
        _no_href(href, "a version of an asset is never written again")
    return href.text()


def _no_href(href: Field, why: str) -> NoReturn:
    href.refuse(why, "name the place itself, such as s3://BUCKET/PATH, or with location.name the asset that is to be made")
