"""CloudEvents 1.0 over HTTP: the attributes, and the data in place of the body. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from millrace.serve.entity import is_json, media_type, read, read_json
from millrace.serve.problems import Problem

STRUCTURED = "application/cloudevents+json"
REQUIRED = ("id", "source", "specversion", "type")


def read_entity(headers: Mapping[bytes, bytes], content_type: str, body: bytes) -> tuple[Any, dict[str, Any] | None]:
    """What the handler gets of a body, and the attributes of the event that it is the data of, if it is.

    headers: by lower-case name. Raises Problem.
    """
    kind, parameters = media_type(content_type)
    if kind == STRUCTURED:
        return _structured(body)
    if kind.startswith("application/cloudevents"):
        raise Problem(415, f"{kind} is not supported: send single events, as {STRUCTURED} or with ce- headers")
    attributes = None
    if b"ce-specversion" in headers:
        attributes = _checked(
            {
                name[3:].decode("latin-1"): unquote(value.decode("latin-1"))
                for name, value in headers.items()
                if name.startswith(b"ce-")
            }
        )
        if content_type:
            attributes["datacontenttype"] = content_type
    return read(kind, parameters, body), attributes


def _structured(body: bytes) -> tuple[Any, dict[str, Any]]:
    document = read_json(body)
    if not isinstance(document, dict):
        raise Problem(400, "a CloudEvent is a JSON object")
    attributes = _checked({name: value for name, value in document.items() if name not in {"data", "data_base64"}})
    if "data_base64" not in document:
        return document.get("data"), attributes
    if "data" in document:
        raise Problem(400, "the CloudEvent has both data and data_base64")
    try:
        data = base64.b64decode(document["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Problem(400, "data_base64 of the CloudEvent is no base64") from None
    kind, parameters = media_type(str(attributes.get("datacontenttype") or "application/octet-stream"))
    return (read_json(data) if is_json(kind) and data else read(kind, parameters, data)), attributes


def _checked(attributes: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in REQUIRED if not isinstance(attributes.get(name), str) or not attributes[name]]
    if missing:
        raise Problem(400, f"the CloudEvent has no {', '.join(missing)}")
    if not attributes["specversion"].startswith("1."):
        raise Problem(400, f"CloudEvents {attributes['specversion']} are not supported, 1.0 are")
    return attributes
