"""Keys of S3 for the token of the run's ServiceAccount: AssumeRoleWithWebIdentity, as Amazon and MinIO have it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from millrace.data.errors import DataError
from millrace.data.model import Credentials
from millrace.data.objects import connect, parse_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from millrace.data.objects import Connection

SECONDS = 3600
EARLY_SECONDS = 300.0  # before their end keys are not used any more


class WebIdentityKeys:
    """A source of credentials: exchanges the token anew before the keys end. Safe for use from several threads."""

    def __init__(self, entry: Mapping[str, Any], read_seconds: float) -> None:
        spec = entry["s3"]
        own = spec["webIdentity"].get("endpoint") or spec.get("endpoint")
        region = spec.get("region") or "us-east-1"
        endpoint = str(own or f"https://sts.{region}.amazonaws.com")
        self._connect = partial(connect, entry, endpoint, read_seconds)
        self._role, self._file = spec["webIdentity"].get("roleArn"), str(entry["token"])
        self._lock = threading.Lock()
        self._keys: Credentials | None = None
        self._until = 0.0

    def __call__(self) -> Credentials:
        """Keys that hold. Raises DataError; AccessDenied when the service gives none."""
        with self._lock:
            if self._keys is None or time.time() >= self._until - EARLY_SECONDS:
                self._keys, self._until = self._exchange()
            return self._keys

    def _exchange(self) -> tuple[Credentials, float]:
        connection = self._connect()
        try:
            return self._ask(connection)
        finally:
            connection.http.close()  # it is once in an hour

    def _ask(self, connection: Connection) -> tuple[Credentials, float]:
        where = connection.host
        try:
            token = Path(self._file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise DataError("AccessDenied", f"{self._file}: the token of the run's ServiceAccount cannot be read") from None
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "DurationSeconds": str(SECONDS),
            "RoleSessionName": "millrace",
            "WebIdentityToken": token,
            **({"RoleArn": self._role} if self._role else {}),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url, content = f"{connection.endpoint}/", urlencode(form).encode()
        try:
            answer = connection.request("POST", url, where, headers=headers, content=content)
        except DataError as error:
            if error.reason in ("BadResponse", "NotFound", "AccessDenied"):  # the service says 400 or 403
                what = f"the token service gives no keys for the run's ServiceAccount ({error.code})"
                raise DataError("AccessDenied", f"{where}: {what}") from None
            raise
        return _read(parse_xml(answer, where), where)


def _read(document: Element, where: str) -> tuple[Credentials, float]:
    found = document.find(".//Credentials")
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    texts = [found.findtext(name) or "" for name in names] if found is not None else [""]
    try:
        until = datetime.fromisoformat(texts[-1]).timestamp()
    except ValueError:
        until = 0.0
    if not all(texts) or not until:
        raise DataError("BadResponse", f"{where}: the answer is not one of a security token service")
    access, secret, session, _ = texts
    return Credentials(access, secret, session), until
