"""What comes over a connection: requests that two servers would understand differently, limits of size and time."""

from __future__ import annotations

import re
import socket
import time

import httpx
import pytest

from integration.serve.conftest import Start, soon
from integration.serve.service import Service

ECHO = """
def handle(body, context):
    return {"got": body.decode("latin-1") if isinstance(body, bytes) else body, "headers": context.headers}
"""


def head(*fields: bytes, line: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def talk(service: Service, *pieces: bytes, seconds: float = 5) -> bytes:
    """What the service says to these bytes until it closes or is silent."""
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.settimeout(seconds)
        said = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while data := connection.recv(65536):
                said += data
        except TimeoutError:
            return said + b"<silent>"
        except ConnectionError:
            return said + b"<reset>"
        return said


CHUNKED = b"Transfer-Encoding: chunked"
AMBIGUOUS = {
    "length and chunked": head(b"Content-Length: 2", CHUNKED) + b"2\r\n{}\r\n0\r\n\r\n",
    "chunked and length": head(CHUNKED, b"Content-Length: 2") + b"2\r\n{}\r\n0\r\n\r\n",
    "two lengths": head(b"Content-Length: 2", b"Content-Length: 3") + b"{}",
    "the same length twice": head(b"Content-Length: 2", b"Content-Length: 2") + b"{}",
    "a list of lengths": head(b"Content-Length: 2, 2") + b"{}",
    "a signed length": head(b"Content-Length: +2") + b"{}",
    "a negative length": head(b"Content-Length: -2") + b"{}",
    "a hexadecimal length": head(b"Content-Length: 0x2") + b"{}",
    "a length beyond 64 bits": head(b"Content-Length: 99999999999999999999999") + b"{}",
    "an unknown coding": head(b"Transfer-Encoding: xchunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "chunked before another": head(b"Transfer-Encoding: chunked, identity") + b"2\r\n{}\r\n0\r\n\r\n",
    "chunked after another": head(b"Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "two codings": head(CHUNKED, b"Transfer-Encoding: identity") + b"2\r\n{}\r\n0\r\n\r\n",
    "chunked twice": head(CHUNKED, CHUNKED) + b"2\r\n{}\r\n0\r\n\r\n",
    "a coding behind a vertical tab": head(b"Transfer-Encoding: \x0bchunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": head(CHUNKED, line=b"POST / HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n",
    "a space before the colon": head(b"Content-Length : 2") + b"{}",
    "a folded header": head(b"X: a", b" b", b"Content-Length: 2") + b"{}",
    "lines that end in LF": head(b"Content-Length: 2").replace(b"\r\n", b"\n") + b"{}",
    "a CR within a header": head(b"X: a\rContent-Length: 5", b"Content-Length: 2") + b"{}",
    "a NUL within a header": head(b"X: a\x00b", b"Content-Length: 2") + b"{}",
    "a header without a colon": head(b"X"),
    "a header before the first": head(b"X: a", host=b" Host: a\r\n"),
    "a size of a chunk that is none": head(CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n",
    "a size with 0x": head(CHUNKED) + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": head(CHUNKED) + b"2\r\n{}AA\r\n0\r\n\r\n",
    "a chunk's line that ends in LF": head(CHUNKED) + b"2\n{}\n0\n\n",
    "an LF within a chunk's extension": head(CHUNKED) + b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "a size beyond 64 bits": head(CHUNKED) + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "no host": head(b"Content-Length: 2", host=b"") + b"{}",
    "two hosts": head(b"Host: b", b"Content-Length: 2") + b"{}",
    "a space within the target": head(line=b"GET /a b HTTP/1.1"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": head(line=b"GET / HTTP/2.0"),
    "HTTP/1.9": head(line=b"GET / HTTP/1.9"),
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a tunnel": head(line=b"CONNECT b:1 HTTP/1.1"),
    "another protocol": head(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 2") + b"{}",
}
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_could_be_understood_differently_is_refused_and_the_connection_ends(serve: Start, request_bytes: bytes) -> None:
    service = serve(ECHO)
    said = talk(service, request_bytes + SMUGGLED)
    assert re.match(rb"HTTP/1.1 (400|501|505) |(<reset>)?$", said), said
    assert len(re.findall(rb"HTTP/1.1 \d", said)) <= 1, said
    assert not said.endswith(b"<silent>"), said
    assert httpx.post(service.url, json=1).status_code == 200


def test_garbage_after_a_request_does_not_answer_in_its_place(serve: Start) -> None:
    said = talk(serve(ECHO), head(b"Content-Length: 1", b"Content-Type: application/json") + b"1" + b"\x00garbage\r\n\r\n")
    assert len(re.findall(rb"HTTP/1.1 \d", said)) <= 1, said
    assert not said.endswith(b"<silent>"), said


def test_requests_one_behind_the_other_are_answered_in_order(serve: Start) -> None:
    many = [head(b"Content-Length: 2", b"Content-Type: application/json") + b"%02d" % n for n in range(10, 30)]
    said = talk(serve(ECHO), b"".join(many), seconds=2)
    at = [said.index(b'{"got":%02d,' % n) for n in range(10, 30)]
    assert at == sorted(at)


def test_a_body_in_pieces_is_one_body(serve: Start) -> None:
    pieces = [head(CHUNKED, b"Content-Type: application/json"), b"1\r\n", b"[\r\n", b"3\r\n1,", b"2\r\n1\r\n]\r\n0\r\n\r\n"]
    assert b'{"got":[1,2],' in talk(serve(ECHO), *pieces, seconds=2)


def test_fields_behind_the_body_are_dropped(serve: Start) -> None:
    trailers = b"X-Late: 1\r\nce-specversion: 1.0\r\nAuthorization: Bearer x\r\n\r\n"
    said = talk(serve(ECHO), head(CHUNKED) + b"1\r\na\r\n0\r\n" + trailers, seconds=2)
    assert b"200 OK" in said
    assert b"late" not in said


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (head(b"X: " + b"a" * 40_000), b"431"),
        (head(*[b"X-%d: a" % n for n in range(101)]), b"431"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"431"),
        (head(b"Content-Length: 33554433"), b"413"),
        (head(CHUNKED) + (b"100000\r\n" + b"a" * 0x100000 + b"\r\n") * 33, b"413"),
    ],
)
def test_what_is_too_large_is_refused_and_the_connection_ends(serve: Start, request_bytes: bytes, status: bytes) -> None:
    said = talk(serve(ECHO), request_bytes)
    assert said.startswith(b"HTTP/1.1 " + status) or said.endswith(b"<reset>"), said[:100]
    assert not said.endswith(b"<silent>"), said


def test_a_head_without_an_end_takes_no_memory(serve: Start) -> None:
    service = serve(ECHO)
    with socket.create_connection(("127.0.0.1", service.port)) as connection, pytest.raises(ConnectionError):
        connection.settimeout(20)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(1000):
            connection.sendall(b"a" * 10_000)
            time.sleep(0.001)


def test_a_body_of_the_largest_size_is_taken(serve: Start) -> None:
    source = "def handle(body: bytes):\n    return len(body)\n"
    with serve(source).client() as client:
        assert client.post("/", content=b"a" * 32 * 1024 * 1024).json() == 32 * 1024 * 1024


def test_who_is_silent_in_a_head_is_cut_off(serve: Start) -> None:
    service = serve(ECHO)
    began = time.monotonic()
    assert talk(service, seconds=20) in {b"", b"<reset>"}
    assert 9 < time.monotonic() - began < 15
    with service.client() as client:
        assert client.post("/", json=1).status_code == 200


def test_a_refusal_without_a_token_does_not_read_a_large_body(serve: Start) -> None:
    service = serve("def handle(body):\n    return 1\n", public=False)
    began = time.monotonic()
    said = talk(service, head(b"Content-Length: 30000000") + b"a" * 1000)
    assert said.startswith(b"HTTP/1.1 401 "), said
    assert b"connection: close" in said
    assert time.monotonic() - began < 4
    soon(lambda: httpx.get(f"{service.operations}/load").json()["inFlight"] == 0)
