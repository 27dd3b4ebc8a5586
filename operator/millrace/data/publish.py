"""The commit protocol of docs/protocol.md, "Publish": many may upload, one record decides, whoever finds it completes
it.

Objects of attempt n, in the record store below `.millrace/runs/<run uid>/attempts/<n>/`:

* `uploads.json` names the multipart uploads of the attempt before their first byte is sent, so that the next attempt
can abort them.
* `commit.json` is the attempt's slot, made once and never changed: its record, or `{"fencedBy": m}` by a later
attempt m.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from millrace.data.errors import DataError
from millrace.data.failpoints import failpoint
from millrace.data.model import Outcome, PendingOutput, Published
from millrace.data.retry import retrying
from millrace.data.stores import Store
from millrace.data.transfer import put_bytes, put_new, read

Place = tuple[int, str]
"""A store's number in the plan and a key relative to its prefix."""


@dataclass
class Attempt:
    """One attempt of a run, and what it has uploaded so far. `run_uid` is also its folder below .millrace/runs/, of a
    shard UID/shards/INDEX; `stores` by their number in the plan; `record` is the number of the store of the plan's first
    output."""

    run_uid: str
    number: int
    stores: Mapping[int, Store]
    record: int
    _uploads: dict[Place, str] = field(default_factory=dict, repr=False)
    _unnamed: set[Place] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self, place: Place, *, deadline: float) -> str:
        """Creates a multipart upload that a later attempt can find. Returns its id. Raises DataError."""
        store = self.stores[place[0]]
        with self._lock:
            if place in self._uploads:  # the one before vanished
                self._unnamed.add(place)
            self._uploads[place] = ""
            self._note(deadline)
            failpoint("intent-written")
            upload_id, lost = store.uploads.create(store.full_key(place[1]), deadline=deadline)
            failpoint("upload-created")
            if lost:  # aborted at once: the next note hides when this upload was begun. An answer may come later still.
                _abort_unnamed(self, place, {upload_id}, number=self.number, deadline=deadline)
                self._unnamed.add(place)
            self._uploads[place] = upload_id
            self._note(deadline)
            failpoint("upload-recorded")
            return upload_id

    def settled(self, place: Place) -> None:
        """Forgets an upload that was completed outside of the commit."""
        with self._lock:
            self._uploads.pop(place, None)

    def _note(self, deadline: float) -> None:
        listed = [{"store": place[0], "key": place[1], "uploadId": upload_id} for place, upload_id in self._uploads.items()]
        data = json.dumps({"version": 1, "uploads": listed}).encode()
        put_bytes(self.store, _path(self, self.number, "uploads.json"), data, deadline=deadline)

    @property
    def store(self) -> Store:
        """The store that holds the records."""
        return self.stores[self.record]


def commit(attempt: Attempt, outcome: Outcome, pending: Sequence[PendingOutput], *, deadline: float) -> list[Published]:
    """Makes the pending outputs visible, all of them, unless another attempt of the run was first.

    Takes the slots of the earlier attempts, writes this attempt's record, completes the uploads, aborts what is left
    of the others. May be called again after a failure with the same arguments. An earlier success wins: its outputs
    are returned instead (`Published.attempt`).

    deadline: instant of time.monotonic(). Raises DataError: Superseded when a later attempt took this one's place,
    UploadFailed when an upload is gone and its object is not there, and the store's own reasons. Its uploads are
    aborted when it is superseded.
    """
    won = take_over(attempt, deadline=deadline)
    if won is not None:
        _give_up(attempt, keep=set(), deadline=deadline)
        return won
    mine: dict[str, Any] = {
        "version": 1,
        "attempt": attempt.number,
        "class": outcome,
        "outputs": [asdict(output) for output in pending],
    }
    failpoint("before-commit-record")
    record = _slot(attempt, attempt.number, mine, deadline)
    failpoint("after-commit-record")
    if "fencedBy" in record:
        _give_up(attempt, keep=set(), deadline=deadline)
        raise DataError("Superseded", f"attempt {record['fencedBy']} took the place of attempt {attempt.number}")
    published = _roll_forward(attempt, record, strict=True, deadline=deadline)
    failpoint("after-complete")
    _give_up(attempt, keep=_ids(record), deadline=deadline)
    return published


def abort(attempt: Attempt, *, seconds: float = 10.0) -> None:
    """Aborts this attempt's uploads unless its record stands: then they belong to whoever rolls it forward. Never
    raises DataError.

    First fences its own slot, so that a `commit` which is still under way elsewhere cannot record uploads that are
    gone.
    """
    deadline = time.monotonic() + seconds
    with suppress(DataError):
        record = _slot(attempt, attempt.number, {"fencedBy": attempt.number}, deadline)
        _give_up(attempt, keep=set() if "fencedBy" in record else _ids(record), deadline=deadline)


def take_over(attempt: Attempt, *, deadline: float) -> list[Published] | None:
    """Takes the slots of the earlier attempts, completes what stands in them and aborts what else they left. The outputs
    of an earlier success, if there is one.

    To be called before the attempt uploads, too: where a store keeps the parts of all uploads to a key together (Azure),
    completing an earlier one discards those of this one. Raises DataError.
    """
    won: list[Published] | None = None
    for earlier in range(1, attempt.number):
        record = _slot(attempt, earlier, {"fencedBy": attempt.number}, deadline)
        failpoint(f"fence-written-{earlier}")
        if "fencedBy" not in record and won is None:
            success = record["class"] == "success"
            published = _roll_forward(attempt, record, strict=success, deadline=deadline)
            won = published if success else None
            failpoint(f"rolled-forward-{earlier}")
        _abort_attempt(attempt, earlier, keep=_ids(record), deadline=deadline)
        failpoint(f"stale-aborted-{earlier}")
    return won


def abort_left(attempt: Attempt, *, deadline: float) -> None:
    """Aborts what a killed process of this same attempt has begun; the uploads of its record, if it made one, stay.

    To be called before the attempt begins an upload of its own: that would replace the note of the others. Raises
    DataError.
    """
    data = read(attempt.store, _path(attempt, attempt.number, "commit.json"), deadline=deadline)
    keep = _ids(_parse(attempt, data)) if data is not None else set()
    _abort_attempt(attempt, attempt.number, keep=keep, deadline=deadline)


def _path(attempt: Attempt, number: int, name: str) -> str:
    return attempt.store.full_key(f".millrace/runs/{attempt.run_uid}/attempts/{number}/{name}")


def _slot(attempt: Attempt, number: int, wanted: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Puts `wanted` into an attempt's slot unless it is taken; what it holds then."""
    data = json.dumps(wanted, sort_keys=True).encode()
    found = put_new(attempt.store, _path(attempt, number, "commit.json"), data, deadline=deadline)
    return _parse(attempt, found)


def _parse(attempt: Attempt, data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
        if "fencedBy" not in record and record["class"] not in ("success", "failure"):
            record = None
    except (ValueError, KeyError, TypeError):
        record = None
    if record is None:
        raise DataError("UploadFailed", f"{attempt.store.where()}: a commit record of the run is damaged")
    return dict(record)


def _outputs(record: Mapping[str, Any]) -> list[PendingOutput]:
    return [
        PendingOutput(**{**output, "parts": tuple(output["parts"]), "warnings": tuple(output["warnings"])})
        for output in record.get("outputs", [])
    ]


def _ids(record: Mapping[str, Any]) -> set[str]:
    return {output.upload_id for output in _outputs(record)}


def _roll_forward(attempt: Attempt, record: Mapping[str, Any], *, strict: bool, deadline: float) -> list[Published]:
    """Completes each upload of a record. strict: an object that is not the expected one is an error, else it was
    replaced since.
    """
    published = []
    for output in _outputs(record):
        store = attempt.stores[output.store]
        key = store.full_key(output.key)
        if not store.uploads.complete(key, output.upload_id, output.parts, deadline=deadline):
            found = store.uploads.published(key, output.upload_id, output.etag, deadline=deadline)
            if strict and not found:
                _explain_loss(attempt, record, store.where(key), deadline)
        failpoint(f"completed-{output.name}")
        published.append(
            Published(
                name=output.name,
                uri=store.uri(store.full_key(output.target)),
                target=output.target,
                bytes=output.bytes,
                files=output.files,
                sha256=output.sha256,
                content_digest=output.content_digest,
                attempt=int(record["attempt"]),
                table=output.table,
            )
        )
    return published


def _explain_loss(attempt: Attempt, record: Mapping[str, Any], where: str, deadline: float) -> None:
    later = read(attempt.store, _path(attempt, int(record["attempt"]) + 1, "commit.json"), deadline=deadline)
    if later is not None and record["class"] == "failure":
        raise DataError("Superseded", f"{where}: a later attempt has published over it")
    raise DataError("UploadFailed", f"{where}: the upload is gone and the object is not the one that was uploaded")


def _give_up(attempt: Attempt, *, keep: set[str], deadline: float) -> None:
    """Aborts this attempt's uploads but those in `keep`, and those without a name that a lost answer left. Failures
    are left to the next attempt: what was published stays published."""
    with attempt._lock:  # noqa: SLF001 - the attempt's own functions
        places, unnamed = dict(attempt._uploads), set(attempt._unnamed)  # noqa: SLF001
    with suppress(DataError):
        _abort_all(attempt, places.items(), unnamed, keep, number=attempt.number, deadline=deadline)


def _abort_attempt(attempt: Attempt, number: int, *, keep: set[str], deadline: float) -> None:
    """Aborts what an attempt noted in its uploads.json."""
    data = read(attempt.store, _path(attempt, number, "uploads.json"), deadline=deadline)
    if data is None:
        return
    try:
        listed = {(int(u["store"]), str(u["key"])): str(u["uploadId"]) for u in json.loads(data)["uploads"]}
    except (ValueError, KeyError, TypeError):
        return
    places = {place: upload_id for place, upload_id in listed.items() if place[0] in attempt.stores}
    unnamed = {place for place, upload_id in places.items() if not upload_id}
    _abort_all(attempt, places.items(), unnamed, keep, number=number, deadline=deadline)


def _abort_all(
    attempt: Attempt,
    places: Iterable[tuple[Place, str]],
    unnamed: set[Place],
    keep: set[str],
    *,
    number: int,
    deadline: float,
) -> None:
    for (index, relative), upload_id in places:
        store = attempt.stores[index]
        key = store.full_key(relative)
        if upload_id and upload_id not in keep:
            store.uploads.abort(key, upload_id, deadline=deadline)
    for index, relative in unnamed:
        _abort_unnamed(attempt, (index, relative), keep, number=number, deadline=deadline)


def _abort_unnamed(attempt: Attempt, place: Place, keep: set[str], *, number: int, deadline: float) -> None:
    """Aborts uploads to a place whose id nobody knows: begun since the attempt wrote its intent, and without a part.

    Another run's upload to the same key that has not sent a part yet may be hit; its `PartWriter` begins anew then.
    """
    store = attempt.stores[place[0]]
    key = store.full_key(place[1])
    own = {upload_id for upload_id in attempt._uploads.values() if upload_id}  # noqa: SLF001
    note = _path(attempt, number, "uploads.json")
    where = attempt.store.where(note)
    since = retrying(lambda: attempt.store.modified(note), where=where, deadline=deadline)
    for upload in store.uploads.unfinished(key, deadline=deadline):
        known = upload.id in keep or (number != attempt.number and upload.id in own)
        recent = (upload.initiated - since).total_seconds() > -2  # the store's clock has whole seconds in some answers
        if recent and not known and store.uploads.is_empty(key, upload.id, deadline=deadline):
            store.uploads.abort(key, upload.id, deadline=deadline)
