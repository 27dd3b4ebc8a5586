"""What a store is to the data plane, and how one is opened from its entry in the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from millrace.data.errors import DataError
from millrace.data.model import CredentialSource, Identity

if TYPE_CHECKING:
    from millrace.data.deflate import Chunk

MAX_KEY_BYTES = 1024
READ_SECONDS = 60.0  # a server may be silent for so long
SMALL_BYTES = 4 << 20  # read in one piece
CHUNK_BYTES = 256 << 10  # stays in the processor's cache between the source, the target and the hash


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing. `etag` tells one state of the object from another; `md5` is hexadecimal, "" where the store
    tells none.
    """

    key: str
    size: int
    etag: str
    md5: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that is not completed. `initiated` by the store's clock."""

    id: str
    initiated: datetime


class Writer(Protocol):
    """Takes the bytes of one upload in order. `parts` is what `complete` needs of it."""

    upload_id: str
    bytes: int
    parts: list[str]

    @property
    def etag(self) -> str:
        """What the object will have once it is completed; empty where it cannot be known."""

    def write(self, chunk: Chunk) -> None:
        """Takes the next bytes. Raises DataError."""

    def finish(self) -> str:
        """Ends the stream; the SHA-256 of all bytes. Raises DataError."""

    def stop(self) -> None:
        """Ends it after a failure; the upload itself stays."""


class Uploads(Protocol):
    """Uploads that are invisible until they are completed. Keys are full ones. Every call raises DataError."""

    def create(self, key: str, *, deadline: float) -> tuple[str, bool]:
        """Begins one: (its id, whether an upload without a name may be left of a lost answer)."""

    def writer(self, key: str, size: int, begin: Callable[[], str], *, deadline: float) -> Writer:
        """What sends a stream, in parts of `size` bytes where there are parts; `begin` makes the upload."""

    def complete(self, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:
        """Makes the object visible. False: the upload is not known, so it was completed before or aborted."""

    def abort(self, key: str, upload_id: str, *, deadline: float) -> None:
        """Ends one and frees its bytes; one that is not known is no error."""

    def head(self, key: str, *, deadline: float) -> tuple[str, int] | None:
        """(etag as in a listing, size) of the object, or None when there is none."""

    def published(self, key: str, upload_id: str, etag: str, *, deadline: float) -> bool:
        """Whether the object under the key is the one of this upload, whose writer knew this `etag`."""

    def unfinished(self, key: str, *, deadline: float) -> list[Upload]:
        """The uploads to this key that are not completed."""

    def is_empty(self, key: str, upload_id: str, *, deadline: float) -> bool:
        """Whether nothing was sent yet; False for one that is not known."""


class Store(Protocol):
    """A place for objects below a prefix. Safe for use from several threads. Keys are full ones (`full_key`)."""

    name: str
    prefix: str

    @property
    def identity(self) -> Identity:
        """Who its requests come from."""

    @property
    def uploads(self) -> Uploads:
        """Its uploads."""

    def full_key(self, relative: str) -> str:
        """The object's key for one that is relative to the prefix; a final "/" stays, "" is the prefix. Raises DataError
        KeyRefused."""

    def where(self, key: str = "") -> str:
        """The place of a key, for messages."""

    def uri(self, key: str) -> str:
        """The reference of a key."""

    def close(self) -> None:
        """Frees connections."""

    def probe(self, *, seconds: float) -> None:
        """Raises DataError with the reason why the store cannot be used."""

    def list(self, prefix: str, *, deadline: float, limit: int | None = None) -> Iterator[Entry]:
        """All objects whose key begins with `prefix`, in the order of the keys' bytes. Raises DataError."""

    # What follows is tried once: the caller classifies what it raises, and tries again.

    def read(self, entry: Entry, start: int, end: int) -> Iterator[memoryview]:
        """The bytes [start, end) of the object, as long as it is the one that was listed."""

    def md5_is_content(self, entry: Entry) -> bool:
        """Whether the MD5 of the listing should be the content's."""

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """A small object. Raises FileNotFoundError when there is none, DataError BadResponse for more than `limit` bytes."""

    def put(self, key: str, data: bytes, *, create: bool = False) -> None:
        """A small object, replaced if it exists; `create`: FileExistsError or DataError AlreadyExists then."""

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """An object of `size` bytes from a stream: all of it or nothing."""

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects, a thousand at most; some may be gone already. Folders that are left empty go with them."""

    def modified(self, key: str) -> datetime:
        """When the object was written, by the store's clock."""


def checked_key(name: str, prefix: str, relative: str) -> str:
    """The key below the prefix. Raises DataError KeyRefused for what would leave it or is no usable key: "..", ".",
    empty parts, a leading "/", NUL, more than 1,024 bytes.
    """
    key = "/".join(part for part in (prefix, relative) if part)
    parts = (relative.removesuffix("/")).split("/") if relative else []
    if any(part in ("", ".", "..") for part in parts) or "\0" in relative or len(key.encode()) > MAX_KEY_BYTES:
        raise DataError("KeyRefused", f"store {name}: the key {relative!r} is refused")
    return key


def check_size(where: str, size: int, limit: int | None) -> None:
    """Raises DataError BadResponse for an object of more bytes than a reader takes."""
    if limit is not None and size > limit:
        raise DataError("BadResponse", f"{where}: more than {limit} bytes", final=True)


def open_store(entry: Mapping[str, Any], credentials: CredentialSource, *, read_seconds: float = READ_SECONDS) -> Store:
    """Opens the store of a plan's entry; nothing is sent yet. `credentials` None means that requests are not signed,
    `read_seconds` is how long a server may be silent.

    Raises DataError: CredentialsMissing when the entry says that there are keys, InvalidStore for a description that
    cannot be used.
    """
    if entry.get("credentials") and credentials is None:
        raise DataError("CredentialsMissing", f"store {entry.get('name')}: the store needs keys and has none")
    if "folder" in entry:
        from millrace.data.folder import FolderStore

        return FolderStore(entry)
    from millrace.data.objects import ObjectStore, Service

    service: Service
    if "s3" in entry:
        from millrace.data.s3 import S3

        service = S3(entry, credentials, read_seconds)
    elif "azureBlob" in entry:
        from millrace.data.azure import Azure

        service = Azure(entry, credentials, read_seconds)
    elif "gcs" in entry:
        from millrace.data.gcs import Gcs

        service = Gcs(entry, credentials, read_seconds)
    else:
        raise DataError("InvalidStore", f"store {entry.get('name')}: only s3, azureBlob, gcs and folder are known")
    return ObjectStore(entry, service)
