"""Moving tenant data: object stores, staging of inputs, zipped outputs, the publish protocol of docs/protocol.md.

Everything is synchronous with threads inside: the callers are programs that do one thing and end. Every `deadline` is an instant
of `time.monotonic()`, so that several calls share one limit. Every failure is a `DataError` with a CamelCase `reason` and a
message that may be shown to a person: it names host, bucket and key, never a credential.

    stores = {0: open_store(plan["stores"][0], Credentials(access, secret))}
    staged = stage_input(stores[0], plan["inputs"][0], deadline=deadline, progress=None)

    attempt = Attempt(run_uid=uid, number=1, stores=stores, record=plan["outputs"][0]["store"])
    try:
        pending = [upload_output(attempt, output, deadline=deadline) for output in wanted]
        published = commit(attempt, "success", pending, deadline=deadline)
    except BaseException:
        abort(attempt)          # best effort, bounded to 10 s; also what to call on SIGTERM
        raise
    uri = put_file(stores[0], "logs/score/1/main.log", Path("/millrace/run/main.log"), deadline=deadline)

`commit` is called with an empty list too when outputs were asked for but none is to be published (a failure without `OnFailure`):
it fences the attempts before this one and aborts what they left. An attempt that finds an earlier success returns that one's
outputs (`Published.attempt` says so), and one that was itself fenced raises `DataError` with the reason `Superseded`.
"""

from __future__ import annotations

from millrace.data.model import CredentialSource, Credentials, Outcome, PendingOutput, Progress, Published, Staged

__all__ = ["CredentialSource", "Credentials", "Outcome", "PendingOutput", "Progress", "Published", "Staged"]

# Written down first for those who call it; the modules follow.
# def open_store(entry: Mapping[str, Any], credentials: CredentialSource) -> Store                        (stores.py)
# def probe(store: Store, *, seconds: float = 10.0) -> None                                              (stores.py)
# def stage_input(store: Store, item: Mapping[str, Any], *, deadline: float,
#                 progress: Progress | None = None) -> Staged                                            (download.py)
#     item is an entry of plan["inputs"]; what it stages lies in item["path"] (made when absent): uri_file is one file in it under
#     the object's base name, uri_folder the tree. Staged.files == 0 means: optional and not there.
# def staged_path(item: Mapping[str, Any]) -> str         path that the handler gets for it               (download.py)
# @dataclass class Attempt: run_uid: str; number: int; stores: Mapping[int, Store]; record: int           (publish.py)
# def upload_output(attempt: Attempt, output: Mapping[str, Any], *, deadline: float,
#                   progress: Progress | None = None) -> PendingOutput                                   (publish.py)
#     output is an entry of plan["outputs"]; output["path"] is the tree. A missing folder is an empty tree.
# def commit(attempt: Attempt, outcome: Outcome, pending: Sequence[PendingOutput], *,
#            deadline: float) -> list[Published]                                                         (publish.py)
# def abort(attempt: Attempt, *, seconds: float = 10.0) -> None                                          (publish.py)
# def abort_stale(attempt: Attempt, *, deadline: float) -> int   what `commit` also does, for a chore      (publish.py)
# def put_file(store: Store, key: str, path: Path, *, deadline: float) -> str     returns the uri          (transfer.py)
# class DataError(Exception): reason: Reason; message                                                    (errors.py)
