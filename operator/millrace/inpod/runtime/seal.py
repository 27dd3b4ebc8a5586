"""The sealed record of how user code ended: main's process 1 writes it, collect believes it only with a right seal.

    {"body": "<JSON text>", "hmac": "<hex HMAC-SHA256 of body under the key>"}

The MAC is computed over the text as it stands, so nothing depends on how JSON is written. The modules for it are imported
when it is needed: OpenSSL takes milliseconds that user code would wait for.
"""

from __future__ import annotations

import json

KEY_BYTES = 32
RECORD_LIMIT = 64 * 1024  # bytes; a record is some 5 KiB


def seal(body: dict[str, object], key: bytes) -> bytes:
    """The record's bytes."""
    text = json.dumps(body)
    return json.dumps({"body": text, "hmac": _mac(text, key)}).encode()


def unseal(record: bytes, key: bytes) -> dict[str, object] | None:
    """The body, or None where the record is cut, forged or no record at all."""
    import hmac

    try:
        envelope = json.loads(record)
        text, mac = envelope["body"], envelope["hmac"]
        if not hmac.compare_digest(_mac(text, key).encode(), str(mac).encode()):
            return None
        body = json.loads(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _mac(text: str, key: bytes) -> str:
    import hmac

    return hmac.new(key, text.encode(), "sha256").hexdigest()
