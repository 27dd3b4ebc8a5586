"""What gives tokens to identities, on loopback: Google's and Microsoft's ways of OAuth, a metadata server among them.

It gives a token only for what it knows: an assertion with the right signature, a pod's token that it was told.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15

POD_TOKEN = "pod-token-canary"
TENANT, CLIENT = "tenant-1", "client-1"
EMAIL = "millrace@test.invalid"


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authority:
    """`address` is http://HOST:PORT; `asked` are the paths and forms that came; `given` the tokens that were handed out."""

    address: str
    key: RSA.RsaKey
    seconds: int = 3600
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    given: set[str] = field(default_factory=set)

    @property
    def key_file(self) -> dict[str, str]:
        """The key of a service account, as Google hands it out."""
        return {
            "type": "service_account",
            "client_email": EMAIL,
            "private_key_id": "1",
            "private_key": self.key.export_key().decode(),
            "token_uri": f"{self.address}/token",
        }

    def token(self, audience: str) -> str:
        """A token in the shape of Microsoft's, which Azurite reads."""
        now = int(time.time())
        claims = {"aud": audience, "iss": "https://sts.windows.net/tenant-1/", "nbf": now - 60, "iat": now,
                  "exp": now + self.seconds, "number": len(self.given)}  # fmt: skip
        self.given.add(made := f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}.{_part('signature')}")
        return made

    def answer(self, path: str, form: dict[str, str], headers: Any) -> tuple[int, dict[str, Any]]:
        """Status and body of a request."""
        self.asked.append((path, form))
        refused = 400, {"error": "invalid_grant", "error_description": "canary"}
        if path == "/computeMetadata/v1/instance/service-accounts/default/token":
            known = headers.get("Metadata-Flavor") == "Google"
        elif path == "/token":
            known = self._signed(form.get("assertion", ""))
        elif path == f"/{TENANT}/oauth2/v2.0/token":
            known = form.get("client_id") == CLIENT and form.get("client_assertion") == POD_TOKEN
            known = known and form.get("scope") == "https://storage.azure.com/.default"
        elif path == "/sts":
            known = form.get("subject_token") == POD_TOKEN and form.get("audience") == "//iam/pool"
        elif path == "/act":
            known = headers.get("Authorization", "").removeprefix("Bearer ") in self.given
            return (200, {"accessToken": self.token("act"), "expireTime": "2100-01-01T00:00:00Z"}) if known else refused
        else:
            return 404, {}
        return (
            (200, {"access_token": self.token("https://storage.azure.com"), "expires_in": self.seconds})
            if known
            else refused
        )

    def _signed(self, assertion: str) -> bool:
        try:
            text, _, signature = assertion.rpartition(".")
            pkcs1_15.new(self.key.public_key()).verify(SHA256.new(text.encode()), _bytes(signature))
            claims = json.loads(_bytes(text.partition(".")[2]))
        except (ValueError, TypeError):
            return False
        return claims["iss"] == EMAIL and claims["aud"] == f"{self.address}/token" and claims["exp"] > time.time()


@contextmanager
def running_authority(host: str = "127.0.0.1") -> Iterator[Authority]:
    """Starts one at that address of this machine, and ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = {} if body.startswith("{") else {name: values[0] for name, values in parse_qs(body).items()}
            status, found = made.answer(self.path, form, self.headers)
            data = json.dumps(found).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = serve  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer((host, 0), Handler)
    made = Authority(f"http://{host}:{server.server_address[1]}", RSA.generate(2048))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(5)
