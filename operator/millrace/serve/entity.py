"""The request entity: what the handler gets, by content type. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl

from millrace.serve.problems import Problem

FIELDS = 1000  # of a form, and parts of a multipart body


class File(NamedTuple):
    """A file of a multipart form."""

    name: str  # as the client calls it: never a path to write to
    content_type: str
    data: bytes


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """The type in lower case, and its parameters by lower-case name; empty where there is none.

    Raises Problem 400 for a header that is no media type.
    """
    if content_type in _PLAIN:
        return content_type, {}
    kind = _KIND.match(content_type)
    if kind is None:
        raise Problem(400, f"content-type {content_type!r} is no media type")
    parameters, at = {}, kind.end()
    while at < len(content_type):
        found = _PARAMETER.match(content_type, at)
        if found is None:
            raise Problem(400, f"content-type {content_type!r} is no media type")
        if found[1]:
            parameters[found[1].lower()] = found[2] if found[3] is None else _ESCAPED.sub(r"\1", found[3])
        at = found.end()
    return kind[1].lower(), parameters


_PLAIN = ("", "application/json")  # as most requests say it
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_KIND = re.compile(rf"\s*({_NAME}/{_NAME})\s*(?=;|$)")
_PARAMETER = re.compile(rf';\s*(?:({_NAME})=(?:({_NAME})|"((?:[^"\\]|\\.)*)"))?\s*(?=;|$)')
_ESCAPED = re.compile(r"\\(.)")


def is_json(kind: str) -> bool:
    """Whether a media type is JSON, by itself or by its suffix (RFC 6839)."""
    return kind == "application/json" or kind.endswith("+json")


def read(kind: str, parameters: dict[str, str], body: bytes) -> Any:
    """What the handler gets of a body: JSON's value, text as str, a form as a dict, all else as bytes; None for no body.

    Raises Problem: 400 for a body that is not what its type says, 415 for an unknown charset.
    """
    if not body:
        return None
    if is_json(kind):
        return read_json(body)
    if kind.startswith("text/"):
        return _text(body, parameters.get("charset", "utf-8"))
    if kind == "application/x-www-form-urlencoded":
        return _form(body)
    if kind == "multipart/form-data":
        return _multipart(body, parameters.get("boundary", ""))
    return body


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def read_json(body: bytes) -> Any:
    """The value. Raises Problem 400."""
    try:
        return _DECODER.decode(body.decode())
    except RecursionError:
        raise Problem(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise Problem(400, f"the body is no JSON: {error}") from None


def _text(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset)
    except (LookupError, AttributeError):
        raise Problem(415, f"charset {charset!r} is not known") from None
    except ValueError:
        raise Problem(400, f"the body is no text in {charset}") from None


def _form(body: bytes) -> dict[str, Any]:
    text = _text(body, "utf-8")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=FIELDS)
    except UnicodeDecodeError:
        raise Problem(400, "the form is no text in utf-8") from None
    except ValueError:
        raise Problem(400, f"the form has more than {FIELDS} fields") from None
    return gather(pairs)


def gather(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """By name; the values of a name that comes more than once are a list."""
    found: dict[str, Any] = {}
    repeated = set()
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif name in repeated:
            found[name].append(value)
        else:
            repeated.add(name)
            found[name] = [found[name], value]
    return found


def _multipart(body: bytes, boundary: str) -> dict[str, Any]:
    if not 1 <= len(boundary) <= 70:
        raise Problem(400, "multipart/form-data needs a boundary of 1 to 70 characters")
    # It takes 15 ms to import, and few services get forms. User code may have brought another version: the API is the same.
    import python_multipart
    from python_multipart.exceptions import FormParserError

    parts = _Parts()
    parser = python_multipart.MultipartParser(boundary.encode("latin-1"), parts.callbacks())
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, f"the body is no multipart/form-data: {error}") from None
    if not parts.ended:
        raise Problem(400, "the multipart body ends before its last boundary")
    return gather(parts.found)


class _Parts:
    """What the parser tells of a multipart body."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Any]] = []
        self.ended = False
        self._data = bytearray()
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[str, bytes] = {}

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._over,
        }

    def _begin(self) -> None:
        if len(self.found) == FIELDS:
            raise Problem(400, f"the form has more than {FIELDS} parts")
        self._data, self._headers = bytearray(), {}

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        from python_multipart.multipart import parse_options_header

        disposition, options = parse_options_header(self._headers.get("content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise Problem(400, "a part has no content-disposition: form-data with a name")
        name = _text(options[b"name"], "utf-8")
        kind = self._headers.get("content-type", b"").decode("latin-1")
        if b"filename" in options:
            filename = _text(options[b"filename"], "utf-8")
            self.found.append((name, File(filename, kind or "application/octet-stream", bytes(self._data))))
        elif is_json(media_type(kind)[0]):
            self.found.append((name, read_json(bytes(self._data))))
        else:
            self.found.append((name, _text(bytes(self._data), media_type(kind)[1].get("charset", "utf-8"))))

    def _over(self) -> None:
        self.ended = True
