"""What the data plane hands to its callers: plain records, no I/O, nothing but the standard library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["success", "failure"]
Identity = Literal["Store", "Job", "Anonymous"]
"""Who reads and writes: the credentials of the store, the identity of the run, or nobody in particular."""
Progress = Callable[[int, int], None]
"""Called now and then, from any thread, with the bytes and files that are done so far in this call."""


Table = Mapping[str, Any]
"""What is known of a table that was returned: {"rows", "columns": [[name, type]]}, the columns where they are few."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair of an S3 store; of the others `secret_key` is all (docs/datastore.md). The secret parts never show in a
    repr, and so in no log.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


CredentialSource = Credentials | Callable[[], Credentials] | None
"""Keys, or a function that reads them anew (asked again every minute), or None: requests are not signed."""


@dataclass(frozen=True, slots=True)
class Staged:
    """One input that lies on the disk. `sha256` is the file's, or of a folder the digest that `folder_digest`
    describes.
    """

    bytes: int
    files: int
    sha256: str
    seconds: float
    identity: Identity = "Store"


@dataclass(frozen=True, slots=True)
class PendingOutput:
    """One output whose bytes are in the store but invisible: its multipart upload is not completed yet.

    `etag` is what the object will have when it is completed; `parts` are the etags of its parts, from part 1 on. Of
    an output with `archive: None` it is the upload of `manifest.json`, its files lie there already. `bytes` is what
    the store holds for the output (the zip's size, or the sum of the files), `files` the members without empty
    folders, `sha256` the zip's or the manifest's.
    """

    name: str
    store: int
    key: str
    target: str
    upload_id: str
    parts: tuple[str, ...]
    etag: str
    bytes: int
    files: int
    sha256: str
    content_digest: str
    warnings: tuple[str, ...] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """One output that can be read under `uri`, that of the key `target`. `attempt` is the attempt whose record it is: an
    earlier one when it was adopted.
    """

    name: str
    uri: str
    target: str
    bytes: int
    files: int
    sha256: str
    content_digest: str
    attempt: int
    table: Table | None = None
