"""From the store to the typed value that a reconciliation decides on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.deployment import Deployment
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.build.pod import AUTHORITIES
from millrace.domain.assets import named_assets
from millrace.domain.labels import BUNDLE, COMPONENT, JOBRUN
from millrace.domain.names import label_value, probe_name, reclaim_name
from millrace.domain.notifications import subject_of
from millrace.domain.reclaim import Reclaim
from millrace.domain.settings import Settings
from millrace.observe.job import JobFacts, read_job
from millrace.observe.pod import PodFacts, read_pod
from millrace.reconcile.dataasset import DataAssetSnapshot
from millrace.reconcile.datastore import DataStoreSnapshot
from millrace.reconcile.deployment import DeploymentSnapshot, Queued
from millrace.reconcile.function import FunctionSnapshot
from millrace.reconcile.notify import Notices, Untold
from millrace.reconcile.plan import Learned
from millrace.reconcile.reclaim import ReclaimSnapshot
from millrace.reconcile.snapshot import RunSnapshot
from millrace.runtime.left import left
from millrace.runtime.lines import deployment_of, place_of
from millrace.runtime.made import made_run
from millrace.runtime.store import Key, Store
from millrace.runtime.trim import Object, controller_uid, is_terminal
from millrace.runtime.typed import newest_pod, stores_of, valid


def _orphans(store: Store, run: JobRun, jobs: tuple[JobFacts, ...]) -> tuple[PodFacts, ...]:
    """Pods of the run whose Job is gone; looked for only where the Job that the status names is not there."""
    if run.status.job_name is None or any(job.name == run.status.job_name for job in jobs):
        return ()
    known, label = {job.uid for job in jobs}, label_value(run.metadata.name)
    pods = store.within("Pod", run.metadata.namespace)
    mine = (pod for pod in pods if (pod["metadata"].get("labels") or {}).get(JOBRUN) == label)
    return tuple(read_pod(pod) for pod in mine if controller_uid(pod) not in known)


def _bundle(store: Store, namespace: str) -> str | None:
    """Digest of the authorities that a namespace has."""
    found = store.get(Key("ConfigMap", namespace, AUTHORITIES))
    return found["metadata"]["annotations"].get(BUNDLE) if found else None


def _earlier(store: Store, run: JobRun) -> tuple[str, bool] | None:
    """The run that spec.parallel.of names."""
    named = run.spec.parallel.of if run.spec.parallel else None
    found = store.get(Key("JobRun", run.metadata.namespace, named)) if named else None
    return (found["metadata"]["uid"], is_terminal(found)) if found else None


def run_snapshot(
    store: Store, key: Key, learned: Learned, settings: Settings, ca_bundle: str | None, now: datetime
) -> RunSnapshot | None:
    """Snapshot of a JobRun; None where it is gone."""
    found = store.get(key)
    if found is None:
        return None
    made = made_run(store, key, found)
    run = made.run
    group = deployment_of(found)
    owned = tuple(read_job(job) for job in store.owned(run.metadata.uid, "Job"))
    jobs = tuple(job for job in owned if not job.step)
    pods = {job.uid: newest_pod(store, job.uid) for job in owned if not job.shards}
    shards = max((job for job in jobs if job.shards), key=lambda job: job.attempt, default=None)
    assets = named_assets(run, made.function)
    return RunSnapshot(
        run=run,
        function=made.function,
        deployment=made.deployment,
        line=store.lines.line(group, label_value(key.name), place_of(found)) if group and made.deployment else None,
        unmade=made.obstacle,
        mapped=made.mapped,
        stores=stores_of(store, key.namespace),
        assets=tuple(found for name in assets for found in valid(DataAsset, store.versions(key.namespace, name))),
        asset_objects=frozenset(found["metadata"]["name"] for found in store.within("DataAsset", key.namespace))
        if assets
        else frozenset(),
        jobs=jobs,
        steps=tuple(job for job in owned if job.step),
        shard_pods=tuple(read_pod(pod) for pod in store.owned(shards.uid, "Pod")) if shards else (),
        pods={uid: pod for uid, pod in pods.items() if pod},
        earlier=_earlier(store, run),
        orphans=_orphans(store, run, owned),
        config_maps=frozenset(config_map["metadata"]["name"] for config_map in store.within("ConfigMap", key.namespace)),
        bundle=_bundle(store, key.namespace),
        ca_bundle=ca_bundle,
        learned=learned,
        settings=settings,
        now=now,
    )


def function_snapshot(store: Store, key: Key, settings: Settings, now: datetime) -> FunctionSnapshot | None:
    """Snapshot of a Function; None where it is gone."""
    found = store.get(key)
    if found is None:
        return None
    function = Function.model_validate(found)
    revisions = {
        config_map["metadata"]["name"]: config_map["metadata"]["uid"]
        for config_map in store.owned(function.metadata.uid, "ConfigMap")
        if config_map["metadata"]["labels"].get(COMPONENT) == "revision"
    }
    in_use = {run["status"].get("functionRevision", "") for run in store.unfinished(key.namespace)}
    in_use |= {job.revision or "" for job in map(read_job, store.within("Job", key.namespace)) if not job.over}
    return FunctionSnapshot(function, revisions, frozenset(in_use), settings, now)


def _untold(run: Object) -> Untold:
    """What is still to be told of a run; a spec that was stored before its schema was narrowed is no matter."""
    return Untold(subject_of(JobRun.model_validate({**run, "spec": {}})), run["metadata"]["resourceVersion"])


def deployment_snapshot(
    store: Store, key: Key, learned: Learned, settings: Settings, ca_bundle: str | None, now: datetime
) -> DeploymentSnapshot | None:
    """Snapshot of a Deployment; None where it is gone."""
    found = store.get(key)
    if found is None:
        return None
    deployment = Deployment.model_validate(found)
    group = (key.namespace, label_value(key.name))
    function = store.get(Key("Function", key.namespace, deployment.spec.function_ref.name))
    queued, waiting = [], 0
    for name in store.lines.queue(group):
        waiting += 1
        run = store.get(Key("JobRun", key.namespace, name))
        if run and run["status"].get("phase") == "Queued":
            told = run["status"].get("queuePosition")
            queued.append(Queued(name, run["metadata"]["resourceVersion"], told or 0))
    jobs = (store.derived(job, read_job) for job in store.owned(deployment.metadata.uid, "Job"))
    clock = next(store.owned(deployment.metadata.uid, "CronJob"), None)
    tokens = store.owned(clock["metadata"]["uid"], "Job") if clock else ()
    return DeploymentSnapshot(
        deployment=deployment,
        function=Function.model_validate(function) if function else None,
        revisions={
            config_map["metadata"]["name"]: config_map["metadata"]["uid"]
            for config_map in store.owned(deployment.metadata.uid, "ConfigMap")
        },
        in_use=frozenset(run["status"].get("deploymentRevision", "") for run in store.unfinished_of(group)),
        running=len(store.lines.busy(group)),
        queued=tuple(queued),
        cron_job=clock,
        tokens=tuple(job for job in map(read_job, tokens) if not job.deleted),
        learned=learned,
        settings=settings,
        now=now,
        left=left(store, deployment, learned),
        notices=Notices(
            runs=tuple(store.derived(run, _untold) for run in store.untold(group)),
            jobs=tuple((job, newest_pod(store, job.uid)) for job in jobs if job.notifies),
            waiting=waiting,
            moved=store.lines.moved.get(group, ""),
            bundle=_bundle(store, key.namespace),
            ca_bundle=ca_bundle,
        ),
    )


def dataasset_snapshot(
    store: Store, key: Key, learned: Learned, settings: Settings, now: datetime
) -> DataAssetSnapshot | None:
    """Snapshot of a DataAsset; None where it is gone."""
    found = store.get(key)
    if found is None:
        return None
    asset = DataAsset.model_validate(found)
    versions = tuple(valid(DataAsset, store.versions(key.namespace, asset.asset)))
    job = store.get(Key("Job", key.namespace, reclaim_name(key.name, asset.metadata.uid)))
    reclaim = read_job(job) if job else None
    return DataAssetSnapshot(
        asset=asset,
        assets=versions,
        stores=stores_of(store, key.namespace),
        reclaim=reclaim if reclaim and reclaim.reclaims else None,
        learned=learned,
        settings=settings,
        now=now,
    )


def _read(status: Object) -> Iterable[Object]:
    """What a run's status says of its inputs and its code."""
    return (*(status.get("inputs") or []), status.get("source") or {})


def reclaim_snapshot(store: Store, key: Key, learned: Learned, now: datetime) -> ReclaimSnapshot | None:
    """Snapshot of a Job that deletes an asset's data; None where it is gone, or another one."""
    found = store.get(key)
    job = read_job(found) if found else None
    if job is None or job.reclaims is None:
        return None
    subject = Reclaim.model_validate_json(job.reclaims)
    readers = (
        run["metadata"]["name"]
        for run in store.unfinished(key.namespace)
        if subject.uid in {entry.get("assetUid") for entry in _read(run["status"])}
    )
    return ReclaimSnapshot(
        job=job,
        namespace=key.namespace,
        subject=subject,
        assets=tuple(valid(DataAsset, store.within("DataAsset", key.namespace))),
        stores=stores_of(store, key.namespace),
        readers=tuple(readers),
        pod=newest_pod(store, job.uid),
        learned=learned,
        now=now,
    )


def datastore_snapshot(
    store: Store, key: Key, learned: Learned, settings: Settings, now: datetime
) -> DataStoreSnapshot | None:
    """Snapshot of a DataStore; None where it is gone."""
    found = store.get(key)
    if found is None:
        return None
    datastore = DataStore.model_validate(found)
    jobs = tuple(read_job(job) for job in store.owned(datastore.metadata.uid, "Job"))
    current = probe_name(datastore.metadata.name, datastore.metadata.generation)
    pods = {job.name: newest_pod(store, job.uid) for job in jobs}
    return DataStoreSnapshot(datastore, jobs, pods.get(current), learned, settings, now)
