"""CloudEvents in both modes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.serve.events import STRUCTURED, read_entity
from millrace.serve.problems import Problem

CE = {b"ce-specversion": b"1.0", b"ce-id": b"7", b"ce-source": b"/shop", b"ce-type": b"order.made"}
ATTRIBUTES = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.made"}


def test_headers_are_the_attributes_and_the_body_is_the_data() -> None:
    payload, event = read_entity({**CE, b"ce-subject": b"caf%C3%A9", b"host": b"a"}, "application/json", b'{"n": 1}')
    assert payload == {"n": 1}
    assert event == {**ATTRIBUTES, "subject": "café", "datacontenttype": "application/json"}


@pytest.mark.parametrize(
    ("more", "payload"),
    [
        ({"data": {"n": 1}}, {"n": 1}),
        ({"data": "text", "datacontenttype": "text/plain"}, "text"),
        ({}, None),
        ({"data_base64": "AP8="}, b"\x00\xff"),
        ({"data_base64": "eyJuIjoxfQ==", "datacontenttype": "application/json"}, {"n": 1}),
        ({"data_base64": "aGk=", "datacontenttype": "text/plain"}, "hi"),
    ],
)
def test_a_structured_event_is_unpacked(more: dict[str, Any], payload: Any) -> None:
    found, event = read_entity({}, STRUCTURED + "; charset=utf-8", json.dumps({**ATTRIBUTES, **more}).encode())
    assert found == payload
    assert event is not None
    assert {name: event[name] for name in ATTRIBUTES} == ATTRIBUTES
    assert "data" not in event
    assert "data_base64" not in event


def test_without_attributes_it_is_no_event() -> None:
    assert read_entity({b"host": b"a"}, "application/json", b"1") == (1, None)


@pytest.mark.parametrize(
    ("headers", "content_type", "body", "status", "told"),
    [
        ({b"ce-specversion": b"1.0", b"ce-id": b"7"}, "", b"", 400, "source, type"),
        ({**CE, b"ce-specversion": b"0.3"}, "", b"", 400, "0.3 are not supported"),
        ({}, STRUCTURED, b"[]", 400, "JSON object"),
        ({}, STRUCTURED, b"{", 400, "no JSON"),
        ({}, STRUCTURED, b'{"id": 7}', 400, "id, source, specversion, type"),
        ({}, STRUCTURED, json.dumps({**ATTRIBUTES, "data": 1, "data_base64": "AA=="}).encode(), 400, "both"),
        ({}, STRUCTURED, json.dumps({**ATTRIBUTES, "data_base64": "%"}).encode(), 400, "no base64"),
        ({}, STRUCTURED, json.dumps({**ATTRIBUTES, "data_base64": 1}).encode(), 400, "no base64"),
        ({}, "application/cloudevents-batch+json", b"[]", 415, "single events"),
        ({}, "application/cloudevents+avro", b"", 415, "single events"),
    ],
)
def test_what_is_no_event_is_refused(
    headers: dict[bytes, bytes], content_type: str, body: bytes, status: int, told: str
) -> None:
    with pytest.raises(Problem) as refused:
        read_entity(headers, content_type, body)
    assert refused.value.status == status
    assert told in refused.value.detail
