"""Moving tenant data: object stores, staging of inputs, zipped outputs, the publish protocol of docs/protocol.md.

Everything is synchronous with threads inside: the callers are programs that do one thing and end. Every `deadline` is
an instant of `time.monotonic()`, so that several calls share one limit. Every failure is a `DataError` with a
CamelCase `reason` and a message that may be shown to a person: it names host, bucket and key, never a credential.

    stores = {0: open_store(plan["stores"][0], Credentials(access, secret))}
    staged = stage_input(stores[0], plan["inputs"][0], deadline=deadline, progress=None)

    attempt = Attempt(run_uid=uid, number=1, stores=stores, record=plan["outputs"][0]["store"])
    try:
        published = take_over(attempt, deadline=deadline)
        if published is None:
            pending = [upload_output(attempt, output, deadline=deadline) for output in wanted]
            published = commit(attempt, "success", pending, deadline=deadline)
    except BaseException:
        abort(attempt)          # best effort, bounded to 10 s; also what to call on SIGTERM
        raise
    uri = put_file(stores[0], "logs/score/1/main.log", Path("/millrace/run/main.log"), deadline=deadline)

`commit` is called with an empty list too when outputs were asked for but none is to be published (a failure without
`OnFailure`): it fences the attempts before this one and aborts what they left. An attempt that finds an earlier
success returns that one's outputs (`Published.attempt` says so), and one that was itself fenced raises `DataError`
with the reason `Superseded`.
"""

from __future__ import annotations

from millrace.data.digest import folder_digest
from millrace.data.download import stage_input, staged_path
from millrace.data.errors import DataError, Reason
from millrace.data.model import (
    Credentials,
    CredentialSource,
    Outcome,
    PendingOutput,
    Progress,
    Published,
    Staged,
)
from millrace.data.output import upload_output
from millrace.data.publish import Attempt, abort, commit, take_over
from millrace.data.stores import Store, open_store
from millrace.data.transfer import put_file

__all__ = [
    "Attempt",
    "CredentialSource",
    "Credentials",
    "DataError",
    "Outcome",
    "PendingOutput",
    "Progress",
    "Published",
    "Reason",
    "Staged",
    "Store",
    "abort",
    "commit",
    "folder_digest",
    "open_store",
    "put_file",
    "stage_input",
    "staged_path",
    "take_over",
    "upload_output",
]
