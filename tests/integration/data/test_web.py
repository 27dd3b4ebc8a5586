"""Files from web addresses, by https from a real server (S13, S15, D18)."""

from __future__ import annotations

import hashlib
import resource
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.data import DataError
from millrace.data.model import Staged
from millrace.data.web import stage_web
from support.https_server import Answer, Web, endless, file, https_server, redirect, status

DATA = bytes(range(256)) * 4096  # 1 MiB
LOOPBACK = ["127.0.0.1/32"]
Stage = Callable[..., Staged]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with https_server(tmp_path_factory.mktemp("web"), "data.test") as web:
        yield web


@pytest.fixture
def web(server: Web) -> Web:
    server.answers.clear()
    server.requests.clear()
    return server


@pytest.fixture
def stage(web: Web, tmp_path: Path) -> Stage:
    """stage_web from that server into tmp_path/a.bin."""

    def run(uri: str, *, seconds: float = 20, allow: list[str] = LOOPBACK, most: int = 1 << 30, **more: Any) -> Staged:
        trusted = {
            "authority": str(web.authority),
            **{key: more.pop(key) for key in ("authority", "resolve", "progress") if key in more},
        }
        item = {"uri": uri, "key": "a.bin", "path": str(tmp_path), "sha256": None, "optional": False, **more}
        limits = {"allow": allow, "deny": [], "maxBytes": most}
        return stage_web(item, limits, deadline=time.monotonic() + seconds, **trusted)

    return run


def refused(stage: Stage, uri: str, reason: str, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        stage(uri, **more)
    assert caught.value.reason == reason, caught.value
    return str(caught.value)


def test_a_file_is_fetched_without_credentials(web: Web, stage: Stage, tmp_path: Path) -> None:
    web.answers["/a"] = file(DATA)
    told: list[tuple[int, int]] = []
    staged = stage(web.url("/a?token=1"), sha256=hashlib.sha256(DATA).hexdigest(), progress=lambda *done: told.append(done))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert (staged.bytes, staged.files, staged.identity) == (len(DATA), 1, "Anonymous")
    assert staged.sha256 == hashlib.sha256(DATA).hexdigest()
    [(path, headers)] = web.requests
    assert path == "/a?token=1"
    assert headers.pop("Host") == f"127.0.0.1:{web.port}"
    assert headers == {"User-Agent": "millrace", "Accept": "*/*", "Accept-Encoding": "identity"}
    assert told[-1] == (len(DATA), 1)


def test_an_empty_file_and_one_without_a_length(web: Web, stage: Stage, tmp_path: Path) -> None:
    def chunked(request: Any) -> None:
        request.head(200, {"Transfer-Encoding": "chunked"})
        request.wfile.write(b"3\r\nabc\r\n0\r\n\r\n")

    web.answers |= {"/empty": file(b""), "/chunked": chunked}
    assert stage(web.url("/empty")).bytes == 0
    assert (tmp_path / "a.bin").read_bytes() == b""
    assert stage(web.url("/chunked")).bytes == 3
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


def test_a_transfer_that_breaks_off_goes_on_where_it_was(web: Web, stage: Stage, tmp_path: Path) -> None:
    web.answers["/a"] = file(DATA, breaks=3, after=200_000)
    assert stage(web.url("/a")).sha256 == hashlib.sha256(DATA).hexdigest()
    assert (tmp_path / "a.bin").read_bytes() == DATA
    starts = [headers.get("Range") for _, headers in web.requests]
    assert starts == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]


@pytest.mark.parametrize("how", [{"ranges": False}, {"etag": False}], ids=["without ranges", "without an etag"])
def test_a_server_that_cannot_go_on_begins_anew(web: Web, stage: Stage, tmp_path: Path, how: dict[str, bool]) -> None:
    web.answers["/a"] = file(DATA, breaks=2, after=100_000, **how)
    assert stage(web.url("/a")).sha256 == hashlib.sha256(DATA).hexdigest()
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_file_that_was_replaced_meanwhile_is_never_half_of_each(web: Web, stage: Stage, tmp_path: Path) -> None:
    other = b"other" * 100_000
    answers = iter([file(DATA, breaks=1, after=200_000), file(other)])
    web.answers["/a"] = lambda request: next(answers)(request)
    stage(web.url("/a"))
    assert (tmp_path / "a.bin").read_bytes() == other


@pytest.mark.parametrize("span", ["0-9/10", "200000-200009/1048576", "5-9/10", "x"])
def test_a_part_that_is_not_the_rest_is_not_taken(web: Web, stage: Stage, tmp_path: Path, span: str) -> None:
    def part(request: Any) -> None:
        request.head(206, {"Content-Length": "10", "Content-Range": f"bytes {span}", "ETag": '"x"'})
        request.wfile.write(b"0123456789")

    answers = iter([file(DATA, breaks=1, after=200_000), part, file(DATA)])
    web.answers["/a"] = lambda request: next(answers)(request)
    stage(web.url("/a"))
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_server_that_is_busy_is_asked_again(web: Web, stage: Stage) -> None:
    answers = iter([status(503), status(429), status(500), file(b"data")])
    web.answers["/a"] = lambda request: next(answers)(request)
    assert stage(web.url("/a")).bytes == 4


ANSWERS: dict[str, tuple[Answer, str, str]] = {
    "no such file": (status(404), "NotFound", "HTTP 404"),
    "a file that is gone": (status(410), "NotFound", "HTTP 410"),
    "a login": (status(401), "AccessDenied", "HTTP 401"),
    "no right": (status(403), "AccessDenied", "HTTP 403"),
    "an answer of its own": (status(418), "BadResponse", "HTTP 418"),
    "a redirect to nowhere": (status(302), "BadResponse", "without a Location"),
}


@pytest.mark.parametrize(("answer", "reason", "says"), ANSWERS.values(), ids=ANSWERS)
def test_what_cannot_heal_is_said_at_once_and_without_the_query(
    web: Web, stage: Stage, answer: Answer, reason: str, says: str
) -> None:
    web.answers["/a"] = answer
    said = refused(stage, web.url("/a?token=canary"), reason)
    assert said.startswith(f"https://127.0.0.1:{web.port}/a: ")
    assert says in said
    assert "canary" not in said
    assert len(web.requests) == 1


def test_an_optional_file_that_is_not_there_is_none(web: Web, stage: Stage, tmp_path: Path) -> None:
    assert stage(web.url("/a"), optional=True).files == 0
    assert list(tmp_path.iterdir()) == []
    web.answers["/a"] = status(403)
    refused(stage, web.url("/a"), "AccessDenied", optional=True)


def test_another_sum_than_the_run_names_is_refused(web: Web, stage: Stage) -> None:
    web.answers["/a"] = file(b"data")
    said = refused(stage, web.url("/a"), "ChecksumMismatch", sha256="0" * 64)
    assert hashlib.sha256(b"data").hexdigest() in said
    assert len(web.requests) == 1


# --- Where it goes (S13) -------------------------------------------------------------------------------------------------


def test_an_address_that_is_not_allowed_gets_no_connection(web: Web, stage: Stage) -> None:
    said = refused(stage, web.url("/a"), "AddressRefused", allow=[])
    assert "127.0.0.1 is a loopback address; an administrator can allow it" in said
    assert web.requests == []


REDIRECTS = {
    "https://169.254.169.254/latest/meta-data/": "169.254.169.254 is a link-local address",
    "https://10.96.0.1/api": "10.96.0.1 is a private address",
    "https://[::1]/": "::1 is a loopback address",
    "https://[::ffff:10.0.0.1]/": "is a private address",
    "https://2130706433/": "four decimals",
    "https://kubernetes.default.svc/": "a name inside of the cluster",
    "http://127.0.0.1/": "http: only https:// is followed",
    "file:///etc/passwd": "file: only https:// is followed",
    "gopher://127.0.0.1:70/x": "gopher: only https:// is followed",
    "https://user:canary@127.0.0.1/": "a user or password in an address",
    "//169.254.169.254/": "169.254.169.254 is a link-local address",
}


@pytest.mark.parametrize(("to", "why"), REDIRECTS.items())
@pytest.mark.parametrize("hops", [1, 3])
def test_each_redirect_is_checked(web: Web, stage: Stage, to: str, why: str, hops: int) -> None:
    web.answers |= {f"/{hop}": redirect(f"/{hop + 1}") for hop in range(1, hops)} | {f"/{hops}": redirect(to)}
    assert why in refused(stage, web.url("/1"), "AddressRefused")
    assert len(web.requests) == hops


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed_and_not_a_fourth(web: Web, stage: Stage, code: int) -> None:
    web.answers |= {f"/{hop}": redirect(web.url(f"/{hop + 1}"), code) for hop in (1, 2, 3)} | {"/4": file(b"data")}
    assert stage(web.url("/1")).bytes == 4
    web.answers |= {"/4": redirect("/5", code), "/5": file(b"data")}
    assert "more than 3 redirects" in refused(stage, web.url("/1"), "BadResponse")


def test_a_name_is_asked_for_once_and_what_was_checked_is_connected_to(web: Web, stage: Stage) -> None:
    """A name server that answers differently the next time (rebinding)."""
    asked: list[str] = []
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    web.answers["/a"] = file(b"data")
    assert stage(web.url("/a", "data.test"), resolve=rebinding).bytes == 4
    assert asked == ["data.test"]
    assert web.requests[0][1]["Host"] == f"data.test:{web.port}"
    said = refused(stage, web.url("/a", "data.test"), "AddressRefused", resolve=rebinding)
    assert "data.test is at 127.0.0.2, a loopback address" in said
    assert len(web.requests) == 1


def test_a_name_that_is_also_at_a_private_address_is_refused(web: Web, stage: Stage) -> None:
    both = lambda host, port: ["127.0.0.1", "10.0.0.1"]  # noqa: E731
    assert "at 10.0.0.1, a private address" in refused(stage, web.url("/a", "data.test"), "AddressRefused", resolve=both)
    assert web.requests == []


def test_a_number_that_does_not_answer_is_followed_by_the_next(web: Web, stage: Stage) -> None:
    web.answers["/a"] = file(b"data")
    two = lambda host, port: ["127.0.0.9", "127.0.0.1"]  # noqa: E731
    assert stage(web.url("/a", "data.test"), resolve=two, allow=["127.0.0.0/24"]).bytes == 4


@pytest.mark.parametrize(("error", "tries"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 4)])
def test_a_name_that_nobody_has_is_said_at_once(
    web: Web, stage: Stage, monkeypatch: pytest.MonkeyPatch, error: int, tries: int
) -> None:
    """And it is asked for as a whole name, which no search domain of the cluster makes another of."""
    asked: list[str] = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(error, "so it is")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "data.test: so it is" in refused(stage, web.url("/a", "data.test"), "Unreachable", seconds=3)
    assert set(asked) == {"data.test."}
    assert (len(asked) == 1) == (tries == 1)
    assert len(asked) >= tries


def test_a_certificate_of_another_authority_or_host_is_refused(web: Web, stage: Stage) -> None:
    assert "not signed by" in refused(stage, web.url("/a"), "TlsUntrusted", authority=None)
    here = lambda host, port: ["127.0.0.1"]  # noqa: E731
    refused(stage, web.url("/a", "other.test"), "TlsUntrusted", resolve=here)
    assert web.requests == []


def test_no_proxy_of_the_environment_is_asked(web: Web, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    web.answers["/a"] = file(b"data")
    assert stage(web.url("/a")).bytes == 4


# --- Caps (S15) ----------------------------------------------------------------------------------------------------------


def test_more_bytes_than_are_taken_are_not_fetched(web: Web, stage: Stage, tmp_path: Path) -> None:
    web.answers |= {"/told": file(DATA), "/endless": endless()}
    assert f"{len(DATA)} bytes; this installation takes 1000" in refused(stage, web.url("/told"), "TooLarge", most=1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = refused(stage, web.url("/endless"), "TooLarge", most=200 << 20)
    assert f"more than the {200 << 20} bytes" in said
    assert (tmp_path / "a.bin").stat().st_size <= 200 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB: the body lay in memory"


def test_more_bytes_than_there_is_room_for_are_not_fetched(web: Web, stage: Stage) -> None:
    web.answers["/a"] = lambda request: request.head(200, {"Content-Length": str(1 << 60)})
    assert "bytes are free" in refused(stage, web.url("/a"), "NoSpace", most=1 << 62)


def test_a_body_in_drops_ends_at_the_deadline(web: Web, stage: Stage) -> None:
    web.answers["/a"] = endless(0.05, b"x")
    began = time.monotonic()
    refused(stage, web.url("/a"), "Unreachable", seconds=1.5)
    assert time.monotonic() - began < 5


def test_a_head_in_drops_ends_at_the_deadline(web: Web, stage: Stage) -> None:
    def slow(request: Any) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            request.wfile.write(b"X-A: b\r\n")
            time.sleep(0.05)

    web.answers["/a"] = slow
    began = time.monotonic()
    refused(stage, web.url("/a"), "Unreachable", seconds=1.5)
    assert time.monotonic() - began < 5


def test_a_head_without_end_is_refused_within_memory(web: Web, stage: Stage) -> None:
    def huge(request: Any) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            request.wfile.write(b"X-A: " + b"b" * 65536 + b"\r\n")

    web.answers["/a"] = huge
    tracemalloc.start()
    try:
        refused(stage, web.url("/a"), "Unreachable", seconds=3)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_bytes_are_stored_as_they_come(web: Web, stage: Stage, tmp_path: Path) -> None:
    """Nothing is unpacked, so nothing can swell."""
    import gzip

    packed = gzip.compress(b"0" * (10 << 20))

    def bomb(request: Any) -> None:
        request.head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))})
        request.wfile.write(packed)

    web.answers["/a"] = bomb
    assert stage(web.url("/a")).bytes == len(packed)
    assert (tmp_path / "a.bin").read_bytes() == packed
