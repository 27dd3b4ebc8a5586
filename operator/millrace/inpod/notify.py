"""Tells an address what runs did: POSTs messages one after the other. A small Job of the operator runs it beside no tenant
code.

MILLRACE_NOTIFY holds {"messages": [{"type", "body"}], "ca": a file of certificates or null}, MILLRACE_NOTIFY_URL the
address, which may be a credential as a whole: no message names more of it than its host.

A message is dealt with when the address has taken it (2xx), or refuses it in a way that does not heal (all but 5xx, 408,
425 and 429). Exit code 0 when all are, with {"done": number, "refused": [[index, text], ...]} in the termination message.
Else, after a minute without an answer that is any good, 1, the same with {"reason", "message"}: the kubelet starts it again,
and it goes on after what was done.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
from typing import TYPE_CHECKING, Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.report import write_termination
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    import httpx

CONTAINER = "notify"
FAILED = 1
PATIENCE_SECONDS = 60.0
ANSWER_SECONDS = 10.0  # between two signs of life of the server
MESSAGE_SECONDS = 30  # for one answer, however it trickles
LATER = {408, 425, 429}
WAIT_SECONDS = 30.0  # at most, where the server says how long
DONE_FILE = protocol.TMP_DIR + "/done.json"  # on the pod's own volume, which outlives its containers

Json = dict[str, Any]


def main() -> int:
    """Tell all; the exit code."""
    from millrace.data.errors import DataError

    signal.signal(signal.SIGTERM, lambda *_: os._exit(protocol.EXIT_TERMINATED))
    plan = json.loads(os.environ[protocol.NOTIFY_VARIABLE])
    done = _done()
    try:
        url = _address()
        with _client(plan) as client:
            for index, message in enumerate(plan["messages"]):
                if index < done["done"]:
                    continue
                if refusal := _tell(client, url, message):
                    done["refused"].append([index, refusal])
                done["done"] = index + 1
                _note(done)
    except (DataError, Fault) as error:
        reason, text = error.reason, str(error)
        write_termination(CONTAINER, {"reason": reason, "message": text, **done})
        print(f"{reason}: {text}; {done['done']} of {len(plan['messages'])} are told")
        return FAILED
    write_termination(CONTAINER, done)
    print(f"all {done['done']} are told, {len(done['refused'])} of them refused")
    return 0


def _done() -> Json:
    """What an earlier container of the pod has done."""
    try:
        with open(here(DONE_FILE)) as file:
            found: Json = json.load(file)
    except (OSError, ValueError):
        return {"done": 0, "refused": []}
    return found


def _note(done: Json) -> None:
    path = here(DONE_FILE)
    with open(path + ".new", "w") as file:
        json.dump(done, file)
    os.replace(path + ".new", path)


def _address() -> httpx.URL:
    """The address. Raises Fault, whose message does not say what it is."""
    import httpx

    try:
        url = httpx.URL(os.environ[protocol.NOTIFY_URL_VARIABLE].strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise Fault(
            FAILED, "the key of the Secret holds no address that begins with http:// or https://", reason="AddressRefused"
        )
    return url


def _client(plan: Json) -> httpx.Client:
    import httpx

    from millrace.data.errors import DataError

    authority = plan["ca"] and here(plan["ca"])
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError):
        raise DataError("TlsUntrusted", f"the authorities in {authority} cannot be read") from None
    return httpx.Client(verify=context, timeout=ANSWER_SECONDS, trust_env=False, headers={"User-Agent": "millrace"})


def _tell(client: httpx.Client, url: httpx.URL, message: Json) -> str | None:
    """Until the address has taken it; what it says where it refuses it. Raises DataError."""
    from millrace.data.errors import DataError
    from millrace.data.retry import Backoff

    backoff = Backoff(time.monotonic() + PATIENCE_SECONDS)
    body = json.dumps(message["body"], ensure_ascii=False, separators=(",", ":")).encode()
    while True:
        try:
            return _post(client, url, body, message["type"])
        except DataError as error:
            backoff.wait(error)


def _post(client: httpx.Client, url: httpx.URL, body: bytes, content_type: str) -> str | None:
    import httpx

    from millrace.data.errors import DataError, untrusted

    where = f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}"
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(MESSAGE_SECONDS)
    try:
        # Nobody reads what it says: it may be anything, and of any length.
        with client.stream("POST", url, content=body, headers={"Content-Type": content_type}) as answer:
            status, wait = answer.status_code, answer.headers.get("retry-after", "")
    except (httpx.TransportError, TimeoutError) as error:
        if untrusted(error):
            why = "its certificate is not this host's, or not signed by an authority that is known here (runs.caBundle)"
            raise DataError("TlsUntrusted", f"{where}: {why}") from None
        raise DataError("Unreachable", f"{where} does not answer ({type(error).__name__})") from None
    finally:
        signal.alarm(0)
    if 200 <= status < 300:
        return None
    if status < 500 and status not in LATER:
        return f"HTTP {status}"
    if wait.isdecimal():
        time.sleep(min(float(wait), WAIT_SECONDS))
    raise DataError("Throttled" if status == 429 else "ServerError", f"{where}: HTTP {status}")


def _late(*_: object) -> None:
    raise TimeoutError
