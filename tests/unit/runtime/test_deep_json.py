"""JSON that is deeper than Python reads."""

from __future__ import annotations

import json

import pytest

from millrace.kube import deep_json
from millrace.kube.deep_json import DEEPEST, cut


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_what_is_too_deep_is_cut_off_and_all_else_stays(monkeypatch: pytest.MonkeyPatch, opened: str, closed: str) -> None:
    monkeypatch.setattr(json.JSONDecoder, "decode", json.JSONDecoder.decode)  # put back what install replaces
    text = '{"items":[{"x":' + opened * 9997 + "1" + closed * 9997 + ',"y":"]}\\\\\\"["},{"z":[[],{}]}]}'
    with pytest.raises(RecursionError):
        json.loads(text)
    deep_json.install()
    first, second = json.loads(text)["items"]
    assert (first["y"], second) == (']}\\"[', {"z": [[], {}]})
    found, depth = first["x"], 3
    while found:
        found, depth = found[0] if isinstance(found, list) else found["a"], depth + 1
    assert depth == DEEPEST
    assert json.loads(text.encode())["items"][1] == second


def test_what_is_not_too_deep_is_left_as_it_is() -> None:
    text = json.dumps({"a": [{"b": ['"[', "\\\\", "}"]}] * 3, "c": {}})
    assert cut(text) == text
    assert cut("[" * DEEPEST + "]" * DEEPEST) == "[" * DEEPEST + "]" * DEEPEST


def test_text_that_is_no_json_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.JSONDecoder, "decode", json.JSONDecoder.decode)
    deep_json.install()
    with pytest.raises(json.JSONDecodeError):
        json.loads("[" * 20_000)
