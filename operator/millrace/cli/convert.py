"""`millrace convert`: a file of another system becomes manifests on stdout, or nothing does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from millrace.cli.documents import write_documents
from millrace.cli.errors import Refused
from millrace.cli.foreign import LIMIT, read_value
from millrace.cli.sources import read_text
from millrace.domain.convert.azureml import convert_azureml
from millrace.domain.convert.fields import ConversionRefused, Converted, Options
from millrace.domain.convert.watsonx import convert_watsonx
from millrace.domain.references import LATEST, AssetReference, ReferenceRejected, parse_asset

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
KINDS: dict[str, Callable[[Any, Options], Converted]] = {"watsonx": convert_watsonx, "azureml": convert_azureml}


def options(namespace: str | None, deployment: str | None, stores: list[str], assets: list[str]) -> Options:
    """The options as they were typed. Raises Refused."""
    for option, name in (("-n", namespace), ("--deployment", deployment)):
        if name is not None:
            _name(f"{option} {name}", name)
    return Options(namespace, deployment, _pairs("--store", stores, _name), _pairs("--asset", assets, _asset))


def convert(kind: str, file: str, given: Options) -> tuple[str, list[str]]:
    """The manifests as YAML, and notes for the person. Raises Refused."""
    if kind == "azureml" and given.assets:
        raise Refused("--asset: for watsonx only; a data asset of Azure ML has a name")
    source = "stdin" if file == "-" else file
    value = read_value(read_text(file, "FILE -: one is expected on stdin", LIMIT), source)
    try:
        done = KINDS[kind](value, given)
    except ConversionRefused as error:
        raise Refused(f"{source}: {error}", *([error.hint] if error.hint else [])) from None
    return write_documents(done.manifests), [f"{source}: {note}" for note in done.notes]


def _pairs(option: str, texts: list[str], check: Callable[[str, str], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.rpartition("=")
        if not equals or not key:
            raise Refused(f"{option} {text}: ID=NAME is expected")
        if key in found:
            raise Refused(f"{option} {text}: {key} is given twice")
        found[key] = check(f"{option} {text}", value)
    return found


def _name(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Refused(f"{what}: a name has lower-case letters, digits, dashes and dots only")
    return name


def _asset(what: str, text: str) -> str:
    try:
        found = parse_asset(text)
    except ReferenceRejected:
        found = None
    if not isinstance(found, AssetReference) or found.namespace:
        raise Refused(f"{what}: ID=NAME, ID=NAME@latest or ID=NAME:VERSION is expected")
    return f"{found.asset}{'@' if found.version == LATEST else ':'}{found.version}"
