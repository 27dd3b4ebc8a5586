"""Tokens of cloud identities: a service account's key or the identity of the run for a token that a store takes.

Each is one or two requests of OAuth; what asks for them never shows what it was asked with.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from millrace.data.errors import DataError

if TYPE_CHECKING:
    from millrace.data.objects import Connection

EARLY_SECONDS = 300.0  # before its end a token is not used any more
METADATA_SECONDS = 2.0  # the metadata server is on the same node, or there is none
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
Ask = Callable[[], tuple[str, float]]
"""Asks for a token: (the token, the seconds that it holds). Raises DataError."""


class Tokens:
    """Hands out a token as long as it holds, then asks for the next. Safe for use from several threads."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def current(self) -> str:
        """A token that holds. Raises DataError."""
        with self._lock:
            if time.time() >= self._until - EARLY_SECONDS:
                self._token, seconds = self._ask()
                self._until = time.time() + max(seconds, EARLY_SECONDS + 60)
            return self._token

    def for_obstore(self) -> Any:
        """The token as obstore takes it."""
        return {"token": self.current(), "expires_at": datetime.fromtimestamp(self._until - EARLY_SECONDS, UTC)}


def azure_workload(connection: Connection, environment: Mapping[str, str]) -> Ask | None:
    """Azure's workload identity, by the variables of its webhook: the token of the pod's ServiceAccount for one of
    Microsoft Entra. None where the pod has no such identity.
    """
    names = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID")
    file, tenant, client = (environment.get(name, "") for name in names)
    if not (file and tenant and client):
        return None
    authority = environment.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com"
    url = f"{authority.rstrip('/')}/{quote(tenant)}/oauth2/v2.0/token"

    def ask() -> tuple[str, float]:
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "scope": "https://storage.azure.com/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": _read(file),
        }
        return _exchange(connection, url, form)

    return ask


def google_key(connection: Connection, key: Callable[[], str], name: str) -> Ask:
    """A service account's key of Google, as its JSON, for a token: RFC 7523. `name` is the store's, for messages."""

    def ask() -> tuple[str, float]:
        from Crypto.Hash import SHA256
        from Crypto.PublicKey import RSA
        from Crypto.Signature import pkcs1_15

        try:
            found = json.loads(key())
            email, url = str(found["client_email"]), str(found.get("token_uri") or GOOGLE_TOKENS)
            private = RSA.import_key(found["private_key"])
        except (ValueError, KeyError, TypeError, IndexError):
            what = "the Secret does not hold the key of a service account (JSON)"
            raise DataError("AccessDenied", f"store {name}: {what}") from None
        now = int(time.time())
        claims = {"iss": email, "scope": GOOGLE_SCOPE, "aud": url, "iat": now, "exp": now + 3600}
        head = {"alg": "RS256", "typ": "JWT", "kid": found.get("private_key_id", "")}
        text = f"{_part(head)}.{_part(claims)}"
        signature = pkcs1_15.new(private).sign(SHA256.new(text.encode()))
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": f"{text}.{_base64(signature)}",
        }
        return _exchange(connection, url, form)

    return ask


def google_environment(connection: Connection, environment: Mapping[str, str]) -> Ask:
    """The run's identity at Google: of GOOGLE_APPLICATION_CREDENTIALS (workload identity federation, or a service account's
    key), else of the metadata server, which GKE has for each pod. It asks for "" where there is neither.
    """
    file = environment.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if not file:
        host = environment.get("GCE_METADATA_HOST") or "metadata.google.internal"
        return partial(_google_metadata, connection, host)

    def ask() -> tuple[str, float]:
        try:
            found = json.loads(_read(file))
            kind = found["type"]
        except (ValueError, KeyError, TypeError):
            raise DataError("AccessDenied", f"{file}: no credentials of Google (JSON)") from None
        if kind == "service_account":
            return google_key(connection, lambda: _read(file), file)()
        if kind == "external_account":
            return _google_federation(connection, found, file)
        raise DataError("AccessDenied", f"{file}: credentials of the type {kind} are not supported")

    return ask


def _google_federation(connection: Connection, found: Mapping[str, Any], file: str) -> tuple[str, float]:
    """The pod's own token for one of Google, and that for one of the service account that it may act for."""
    try:
        source, url = found["credential_source"], str(found["token_url"])
        subject = _read(str(source["file"]))
        if (source.get("format") or {}).get("type") == "json":
            subject = json.loads(subject)[source["format"]["subject_token_field_name"]]
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": str(found["audience"]),
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token_type": str(found["subject_token_type"]),
            "subject_token": subject,
        }
    except (ValueError, KeyError, TypeError):
        what = "only a credential_source with a file is supported, and it needs token_url, audience and subject_token_type"
        raise DataError("AccessDenied", f"{file}: {what}") from None
    token, seconds = _exchange(connection, url, form)
    acting = found.get("service_account_impersonation_url")
    if not acting:
        return token, seconds
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    content = json.dumps({"scope": [GOOGLE_SCOPE]}).encode()
    return _field(_answer(connection, str(acting), headers, content), str(acting), "accessToken"), 3600.0


def _google_metadata(connection: Connection, host: str) -> tuple[str, float]:
    """The token of GKE's metadata server; "" where there is no such server."""
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    try:
        answer = connection.request("GET", url, host, headers={"Metadata-Flavor": "Google"}, seconds=METADATA_SECONDS)
        found = answer.json()
        return str(found["access_token"]), float(found["expires_in"])
    except (DataError, ValueError, KeyError, TypeError):
        return "", METADATA_SECONDS


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise DataError("AccessDenied", f"{path}: the token of the run's identity cannot be read") from None


def _exchange(connection: Connection, url: str, form: Mapping[str, str]) -> tuple[str, float]:
    """Sends a form, gets a token. Raises DataError."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    found = _answer(connection, url, headers, urlencode(form).encode())
    return _field(found, url, "access_token"), float(found.get("expires_in") or 0)


def _answer(connection: Connection, url: str, headers: Mapping[str, str], content: bytes) -> Mapping[str, Any]:
    """What an authority answers. Raises DataError; AccessDenied when it refuses."""
    where = urlsplit(url).netloc
    try:
        found = connection.request("POST", url, where, headers=headers, content=content).json()
    except DataError as error:
        if error.reason in ("BadResponse", "NotFound", "AccessDenied"):  # OAuth says 400 or 401
            raise DataError("AccessDenied", f"{where}: the authority gives no token for this identity") from None
        raise
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError("BadResponse", f"{where}: the answer is not one of an authority for tokens")
    return found


def _field(found: Mapping[str, Any], url: str, name: str) -> str:
    token = found.get(name)
    if not isinstance(token, str) or not token:
        raise DataError("BadResponse", f"{urlsplit(url).netloc}: there is no token in the answer")
    return token
