"""The exit record is believed only with its seal."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from millrace.inpod.runtime.seal import seal, unseal

KEY = bytes(range(32))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_what_is_sealed_is_read_back(body: dict[str, object]) -> None:
    assert unseal(seal(body, KEY), KEY) == body


@given(st.binary())
def test_garbage_is_no_record(data: bytes) -> None:
    assert unseal(data, KEY) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_breaks_it_or_changes_nothing(place: int, change: int) -> None:
    record = bytearray(seal({"exitCode": 1, "message": "größer"}, KEY))
    record[place % len(record)] ^= change
    assert unseal(bytes(record), KEY) in (None, {"exitCode": 1, "message": "größer"})


def test_other_keys_and_shapes_are_refused() -> None:
    record = seal({"exitCode": 0}, KEY)
    assert unseal(record, b"") is None
    assert unseal(record[:-1], KEY) is None
    for forged in ("[]", '"x"', "null", "1", '{"body": 1, "hmac": "0"}', '{"body": "{}"}', "[" * 5000):
        assert unseal(forged.encode(), KEY) is None
    envelope = json.loads(record)
    assert unseal(json.dumps({**envelope, "body": '{"exitCode": 7}'}).encode(), KEY) is None
