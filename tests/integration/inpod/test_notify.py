"""The program that tells an address, against a real server: what it sends, when it tries again, and what it never says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.inpod.support import Done, Pod, Program, until
from support.https_server import https_server, status

RECEIVER = Path(__file__).resolve().parents[2] / "support" / "receiver.py"
CLOUD = "application/cloudevents+json; charset=utf-8"
Json = dict[str, Any]


class Receiver:
    """The server, its address and what it was told."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "receiver.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, RECEIVER, "0"], stdout=log)
        self.port = until(lambda: self._lines()[:1], "the receiver")[0]["port"]

    def _lines(self) -> list[Json]:
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def told(self, path: str) -> list[tuple[str, str]]:
        """Ids of what came to that path, and the answers."""
        return [(found["body"]["id"], found["answer"]) for found in self._lines()[1:] if found["path"] == path]

    @property
    def last(self) -> Json:
        return self._lines()[-1]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    found = Receiver(tmp_path_factory.mktemp("receiver"))
    yield found
    found.process.kill()
    found.process.wait()


def begin(pod: Pod, url: str, *ids: str, ca: str | None = None) -> Program:
    messages = [{"type": CLOUD, "body": {"specversion": "1.0", "id": each, "data": {"name": "ü"}}} for each in ids]
    plan = json.dumps({"messages": messages, "ca": ca})
    return pod.begin("notify", MILLRACE_NOTIFY=plan, MILLRACE_NOTIFY_URL=url)


def tell(pod: Pod, url: str, *ids: str, **more: Any) -> Done:
    return begin(pod, url, *ids, **more).wait(90)


def test_each_message_is_posted_once_in_its_order(pod: Pod, receiver: Receiver) -> None:
    done = tell(pod, receiver.url("/200?order"), "a", "b", "c")
    assert (done.code, done.message) == (0, {"done": 3, "refused": []}), done.err
    assert receiver.told("/200?order") == [("a", "200"), ("b", "200"), ("c", "200")]
    assert receiver.last["type"] == CLOUD
    assert receiver.last["body"] == {"specversion": "1.0", "id": "c", "data": {"name": "ü"}}


@pytest.mark.parametrize("answers", ["503/200", "429/202", "408/204", "drop/200", "500/drop/503/200"])
def test_what_may_heal_is_tried_again_under_the_same_id(pod: Pod, receiver: Receiver, answers: str) -> None:
    path = f"/{answers}?heals"
    done = tell(pod, receiver.url(path), "a", "b")
    assert (done.code, done.message["refused"]) == (0, []), done.err
    tries = answers.split("/")
    assert receiver.told(path) == [(each, answer) for each in "ab" for answer in tries]


@pytest.mark.parametrize("answer", ["400", "401", "404", "410", "302"])
def test_what_does_not_heal_is_a_refusal_and_the_others_are_sent(pod: Pod, receiver: Receiver, answer: str) -> None:
    path = f"/{answer}?refused"
    done = tell(pod, receiver.url(path), "a", "b")
    assert (done.code, done.message) == (0, {"done": 2, "refused": [[0, f"HTTP {answer}"], [1, f"HTTP {answer}"]]})
    assert receiver.told(path) == [("a", answer), ("b", answer)]


def test_a_container_that_is_killed_goes_on_after_what_was_taken(pod: Pod, receiver: Receiver) -> None:
    first = tell(pod, receiver.url("/200?killed"), "a")
    assert first.code == 0
    hung = begin(pod, receiver.url("/hold/200?killed"), "a", "b")
    until(lambda: receiver.told("/hold/200?killed"), "the second message hangs")
    hung.process.kill()
    hung.process.wait()
    done = tell(pod, receiver.url("/hold/200?killed"), "a", "b")
    assert (done.code, done.message) == (0, {"done": 2, "refused": []})
    assert receiver.told("/hold/200?killed") == [("b", "hold"), ("b", "200")]
    assert receiver.told("/200?killed") == [("a", "200")]


@pytest.mark.parametrize("url", ["", "hooks.test/x", "file:///etc/passwd", "http:///x", "ftp://h/x", "https://h:port/"])
def test_what_is_no_address_is_told_without_being_shown(pod: Pod, url: str) -> None:
    done = tell(pod, url, "a")
    assert (done.code, done.message["reason"], done.message["done"]) == (1, "AddressRefused", 0)
    assert done.message["message"] == "the key of the Secret holds no address that begins with http:// or https://"


def test_no_word_of_the_address_but_its_host_is_shown(pod: Pod, receiver: Receiver) -> None:
    done = tell(pod, f"http://user:canary-pass@127.0.0.1:{receiver.port}/404/canary-path?canary-query", "a")
    assert done.code == 0
    assert "canary" not in f"{done.out}{done.err}{done.message}"


def test_an_address_that_is_away_for_a_minute_ends_the_container_with_what_is_in_its_way(pod: Pod) -> None:
    done = tell(pod, "http://user:canary@127.0.0.1:1/canary", "a")
    assert (done.code, done.message["reason"]) == (1, "Unreachable")
    assert done.message["message"] == "http://127.0.0.1:1 does not answer (ConnectError)"
    assert "canary" not in f"{done.out}{done.err}{done.message}"


def test_the_installations_authorities_are_trusted_and_no_others(pod: Pod, tmp_path: Path) -> None:
    with https_server(tmp_path) as web:
        web.answers["/hook"] = status(204)
        url = web.url("/hook")
        strange = tell(pod, url, "a")
        assert (strange.code, strange.message["reason"]) == (1, "TlsUntrusted")
        assert "runs.caBundle" in strange.message["message"]
        authority = pod.path("/millrace/ca/index/ca.crt")
        authority.parent.mkdir(parents=True)
        authority.write_bytes(Path(web.authority).read_bytes())
        known = tell(pod, url, "a", ca="/millrace/ca/index/ca.crt")
        assert (known.code, known.message) == (0, {"done": 1, "refused": []}), known.err
