"""What can go wrong with a store, as one exception with a reason that programs switch on and a message that people
read.

Messages name host, bucket and key. They are written here and never copied from a server's answer or from another
exception: those may hold access keys, signatures and presigned URLs.
"""

from __future__ import annotations

import errno
import re
import ssl
from typing import Literal, get_args

import httpx
import obstore.exceptions

Reason = Literal[
    "CredentialsMissing",  # the store asks for keys and none were given
    "AccessDenied",  # keys are unknown, wrong, expired or may not do that
    "BucketNotFound",
    "ContainerNotFound",  # Azure's word for it
    "NotFound",  # no such object or folder
    "Unreachable",  # no connection, or none that lasts
    "TlsUntrusted",  # the certificate is not signed by an authority that we know
    "WrongRegion",
    "Throttled",
    "ServerError",
    "StoreFull",
    "ChecksumMismatch",
    "ObjectChanged",  # replaced while it was read
    "NoSpace",  # on our own disk
    "DiskError",  # of our own disk
    "TypeMismatch",  # a folder where a file was asked for
    "AddressRefused",  # a web address that is not for a run
    "TooLarge",  # more bytes than the installation takes
    "KeyRefused",  # a key that would leave its folder, or cannot be a file's name
    "InvalidStore",  # the store's description itself
    "TreeTooLarge",
    "UploadGone",  # the multipart upload is not known (any more)
    "UploadFailed",
    "AlreadyExists",
    "Superseded",  # a later attempt took this one's place
    "Timeout",  # our own deadline
    "BadResponse",  # an answer that is not an object store's
]
RETRYABLE: frozenset[str] = frozenset({"Unreachable", "Throttled", "ServerError", "ChecksumMismatch", "BadResponse"})

_CODES: dict[str, Reason] = {
    "NoSuchBucket": "BucketNotFound",
    "NoSuchKey": "NotFound",
    "NoSuchUpload": "UploadGone",
    "PermanentRedirect": "WrongRegion",
    "AuthorizationHeaderMalformed": "WrongRegion",
    "SlowDown": "Throttled",
    "SlowDownRead": "Throttled",
    "SlowDownWrite": "Throttled",
    "TooManyRequests": "Throttled",
    "RequestTimeout": "Unreachable",
    "BadDigest": "ChecksumMismatch",
    "XAmzContentSHA256Mismatch": "ChecksumMismatch",
    "IncompleteBody": "Unreachable",
    "InvalidPart": "UploadFailed",
    "PreconditionFailed": "ObjectChanged",
    "XMinioStorageFull": "StoreFull",
    "QuotaExceeded": "StoreFull",
    "XMinioAdminBucketQuotaExceeded": "StoreFull",
    "AccessDenied": "AccessDenied",
    "InvalidAccessKeyId": "AccessDenied",
    "SignatureDoesNotMatch": "AccessDenied",
    "ExpiredToken": "AccessDenied",
    "InvalidToken": "AccessDenied",
    "RequestTimeTooSkewed": "AccessDenied",
    # Azure
    "ContainerNotFound": "ContainerNotFound",
    "BlobNotFound": "NotFound",
    "ResourceNotFound": "AccessDenied",  # of a container that is not public, to nobody in particular
    "InvalidBlockList": "UploadGone",
    "BlobAlreadyExists": "AlreadyExists",
    "ConditionNotMet": "ObjectChanged",
    "Md5Mismatch": "ChecksumMismatch",
    "ServerBusy": "Throttled",
    "OperationTimedOut": "ServerError",
    "AuthenticationFailed": "AccessDenied",
    "InvalidAuthenticationInfo": "AccessDenied",
    "NoAuthenticationInformation": "AccessDenied",
    "PublicAccessNotPermitted": "AccessDenied",
    # Google
    "notFound": "NotFound",
    "conditionNotMet": "ObjectChanged",
    "rateLimitExceeded": "Throttled",
    "userRateLimitExceeded": "Throttled",
}
_STATUS: dict[int, Reason] = {
    301: "WrongRegion",
    307: "WrongRegion",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NotFound",
    408: "Unreachable",
    409: "ServerError",  # ConditionalRequestConflict, OperationAborted: to be tried again
    412: "ObjectChanged",
    429: "Throttled",
    503: "Throttled",
    507: "StoreFull",
}
_TEXT: dict[Reason, str] = {
    "CredentialsMissing": "the store needs keys and has none",
    "AccessDenied": "the store refuses these credentials",
    "BucketNotFound": "the bucket does not exist",
    "ContainerNotFound": "the container does not exist",
    "NotFound": "no such object",
    "Unreachable": "the store does not answer",
    "TlsUntrusted": "the store's certificate is not signed by a known authority (caBundleRef names a private one)",
    "WrongRegion": "the bucket is in another region",
    "Throttled": "the store is busy and asks to slow down",
    "ServerError": "the store reports an error of its own",
    "StoreFull": "the store is full or its quota is used up",
    "ChecksumMismatch": "the bytes were damaged on their way",
    "ObjectChanged": "the object was replaced while it was read",
    "UploadGone": "the multipart upload does not exist any more",
    "AlreadyExists": "the object exists already",
    "BadResponse": "the answer is not one of an object store",
}
_CODE = re.compile(r'<Code>([A-Za-z0-9.]{1,64})</Code>|"reason": ?"([A-Za-z0-9.]{1,64})"')


class DataError(Exception):
    """A failure of the data plane.

    `reason` is one of `Reason`, `code` the store's own error code when it gave one. `str()` is the message for people.
    `final` says that enough was tried.
    """

    def __init__(self, reason: Reason, message: str, *, code: str = "", final: bool = False) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.code = code
        self.final = final

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.reason in RETRYABLE and not self.final


def explain(reason: Reason, where: str, code: str = "") -> DataError:
    """A `DataError` with the standard text of its reason; `where` names host, bucket and key."""
    text = _TEXT.get(reason, reason)
    return DataError(reason, f"{where}: {text}" + (f" ({code})" if code else ""), code=code)


def error_code(body: str) -> str:
    """The `<Code>` of an error document, the `reason` of Google's, or an empty string."""
    found = _CODE.search(body)
    return found.group(found.lastindex or 0) if found else ""


def from_status(status: int, body: str, where: str, code: str = "") -> DataError:
    """What an HTTP answer that is not a success means; `body` may be empty (HEAD), `code` is one of a header."""
    code = code or error_code(body)
    reason = _CODES.get(code) or _STATUS.get(status)
    if reason is None:
        reason = "ServerError" if status >= 500 else "BadResponse"
    return explain(reason, where, code or f"HTTP {status}")


def classify(exc: BaseException, where: str) -> DataError:
    """The `DataError` for an exception of obstore, httpx, ssl or the operating system; `where` names host, bucket,
    key.
    """
    if isinstance(exc, DataError):
        return exc
    if isinstance(exc, httpx.TransportError):
        return explain("TlsUntrusted" if untrusted(exc) else "Unreachable", where)
    if isinstance(exc, obstore.exceptions.BaseError | FileNotFoundError | FileExistsError | PermissionError):
        return _from_obstore(exc, where)
    if isinstance(exc, OSError):
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            return DataError("NoSpace", f"{where}: no space left on the disk")
        return explain("Unreachable", where, errno.errorcode.get(exc.errno or 0, ""))
    if isinstance(exc, ValueError):  # obstore's word for a key that it cannot express
        return DataError("KeyRefused", f"{where}: the key cannot be used")
    return explain("ServerError", where, type(exc).__name__)


def _from_obstore(exc: BaseException, where: str) -> DataError:
    if isinstance(exc, FileExistsError | obstore.exceptions.AlreadyExistsError):
        return explain("AlreadyExists", where)
    text = str(exc)
    code = error_code(text)
    if code in _CODES:
        return explain(_CODES[code], where, code)
    kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Reason]] = [
        ((FileNotFoundError, obstore.exceptions.NotFoundError), "NotFound"),
        (obstore.exceptions.PreconditionError, "ObjectChanged"),
        (
            (PermissionError, obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError),
            "AccessDenied",
        ),
        (obstore.exceptions.InvalidPathError, "KeyRefused"),
    ]
    for kind, reason in kinds:
        if isinstance(exc, kind):
            return explain(reason, where, code)
    status = re.search(r"status code: (\d{3})", text)
    if status:
        return from_status(int(status.group(1)), text, where)
    lowered = text.lower()
    if "certificate" in lowered or "unknownissuer" in lowered:
        return explain("TlsUntrusted", where)
    return explain("Unreachable", where)


def untrusted(exc: BaseException | None) -> bool:
    """Whether an exception comes of a certificate that was not verified."""
    seen = 0
    while exc is not None and seen < 8:
        if isinstance(exc, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(exc):
            return True
        exc, seen = exc.__cause__ or exc.__context__, seen + 1
    return False


assert set(_TEXT) <= set(get_args(Reason)), "a text for a reason that does not exist"
