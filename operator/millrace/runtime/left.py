"""What finished runs of a Deployment have left: read from trimmed objects, of which there may be ten thousand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from millrace.api.dataasset import DataAsset
from millrace.api.deployment import Deployment
from millrace.domain.clock import parse
from millrace.domain.retention import KnownRun, Stored
from millrace.observe.job import read_job
from millrace.reconcile.plan import Learned
from millrace.reconcile.retention import Ended, Left
from millrace.runtime.store import Store
from millrace.runtime.trim import Object, is_terminal, is_untold
from millrace.runtime.typed import newest_pod, stores_of, valid


def left(store: Store, deployment: Deployment, learned: Learned) -> Left:
    """What retention decides on; nothing where there is none, and never a run that the Deployment does not own."""
    meta = deployment.metadata
    facts = (store.derived(job, read_job) for job in store.owned(meta.uid, "Job"))
    jobs = tuple((job, newest_pod(store, job.uid)) for job in facts if job.keeps is not None)
    if not jobs and not deployment.spec.retention:
        return Left()
    found = (store.derived(run, _ended) for run in store.owned(meta.uid, "JobRun"))
    return Left(
        ended=tuple(ended for ended in found if ended),
        jobs=jobs,
        learned=learned,
        stores=stores_of(store, meta.namespace),
        assets=tuple(valid(DataAsset, store.within("DataAsset", meta.namespace))),
    )


def _ended(run: Object) -> Ended | None:
    meta, status = run["metadata"], run["status"]
    if not is_terminal(run) or "deletionTimestamp" in meta:
        return None
    finished = parse(status["times"]["finished"])
    known = KnownRun(meta["name"], meta["uid"], True, status["phase"] != "Succeeded", finished)
    deleted = tuple(status.get("deleted", ()))
    return Ended(known, meta["resourceVersion"], tuple(_stored(run, known, finished)), deleted, is_untold(run))


def _stored(run: Object, known: KnownRun, finished: datetime) -> Iterator[Stored]:
    """Logs and artifacts that are still there, as far as the run's status says where."""
    status = run["status"]
    deleted = status.get("deleted", ())
    if "logs" not in deleted and status.get("logs") and status.get("logsStore"):
        path = f"logs/{known.name}/"
        yield Stored("logs", status["logs"], known.uid, True, finished, status["logsStore"], path)
    for output in status.get("outputs", ()) if "artifacts" not in deleted else ():
        if output.get("uri") and "dataStore" in output:
            place = output["dataStore"]
            yield Stored("artifacts", output["uri"], known.uid, True, finished, place["name"], place["path"])
