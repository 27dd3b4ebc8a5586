"""The versions that a run makes: DataAssets, made once its outputs can be read and before it is told to have succeeded."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

from millrace.api.base import API_VERSION
from millrace.api.dataasset import DataAsset
from millrace.api.jobrun import JobRun
from millrace.api.rundata import Input, Output
from millrace.domain.assets import next_version, versions
from millrace.domain.conditions import Mark
from millrace.domain.labels import ASSET, FUNCTION, JOBRUN, MANAGED_BY
from millrace.domain.names import child_name, label_value
from millrace.domain.reasons import Reason
from millrace.domain.resolve import version_path
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.observe.run import outputs_of, tables_of
from millrace.reconcile.outcome import inputs_known
from millrace.reconcile.plan import Action, CreateUnowned
from millrace.reconcile.status import conditions_patch, patch

Entry = dict[str, Any]
USED = ("asset", "version", "assetUid", "sha256")  # of what is known about an input
KNOWN = ("bytes", "files", "sha256", "contentDigest")  # of what collect reports about an output


def produce(
    run: JobRun, pod: PodFacts, job: JobFacts, assets: Sequence[DataAsset], taken: Container[str], now: datetime
) -> Action | dict[str, str]:
    """The next thing to do for the DataAssets of the outputs that collect reports; then their versions, by output.

    `taken` are the names of the DataAssets that are there. A version of this run is known by its path, which holds the
    run's UID, so that none is made twice.
    """
    store = (job.assets or {}).get("store")
    outputs = {output.name: output for output in run.spec.outputs if output.asset and store}
    tables = tables_of(pod)
    found: dict[str, str] = {}
    for entry in outputs_of(pod, {}, {}):
        output = outputs.get(entry["name"])
        if output is None:
            continue
        known = versions(assets, str(output.asset))
        mine = next((each for each in known.values() if each.spec.path == version_path(output, run)), None)
        if mine is None:
            folder = output.archive == "None" or run.spec.parallel
            kind = ("table" if output.name in tables else "uri_folder") if folder else "uri_file"
            manifest = _manifest(run, output, str(store), assets, taken, kind)
            return CreateUnowned(manifest, tell=run.metadata.uid)
        about = {key: entry[key] for key in KNOWN if key in entry} | tables.get(output.name, {})
        if mine.status.produced_by is None and (write := _tell(mine, about, _producer(run, job, pod), now)):
            return write
        found[output.name] = str(mine.version)
    return found


def _manifest(
    run: JobRun, output: Output, store: str, assets: Sequence[DataAsset], taken: Container[str], kind: str
) -> Entry:
    version = next_version(assets, str(output.asset))
    name = child_name(str(output.asset), f"-{version}")
    if name in taken:  # somebody's, of another asset
        name = child_name(str(output.asset), f"-{version}-{run.metadata.uid[:8]}")
    labels = {
        **MANAGED_BY,
        ASSET: str(output.asset),
        FUNCTION: label_value(run.spec.function),
        JOBRUN: label_value(run.metadata.name),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "DataAsset",
        "metadata": {"name": name, "namespace": run.metadata.namespace, "labels": labels},
        "spec": {
            "asset": output.asset,
            "version": version,
            "type": kind,
            "dataStore": store,
            "path": version_path(output, run),
        },
    }


def _producer(run: JobRun, job: JobFacts, pod: PodFacts) -> Entry:
    """Who made it of what. Of an input the version that was pinned, or its place."""
    found: Entry = {"jobRun": run.metadata.name, "uid": run.metadata.uid, "function": run.spec.function}
    if job.revision:
        found["functionRevision"] = job.revision
    known = {entry["name"]: entry for entry in inputs_known(run, job.assets, pod)}
    inputs: list[Entry] = []
    for each in run.spec.inputs:
        entry = known.get(each.name, {})
        place = {} if each.asset else {"reference": _reference(each)}
        inputs.append({"name": each.name, **place, **{key: entry[key] for key in USED if key in entry}})
    return found | ({"inputs": inputs} if inputs else {})


def _reference(found: Input) -> str:
    if found.data_store:
        return f"{found.data_store.name}/paths/{found.data_store.path}"
    return found.uri or "inline"


def _tell(asset: DataAsset, known: Mapping[str, Any], producer: Entry, now: datetime) -> Action | None:
    meta = asset.metadata
    mark = Mark("Ready", status=True, reason=Reason.VALID)
    status = {
        "version": asset.version,
        **known,
        "producedBy": producer,
        "conditions": conditions_patch(asset.status.conditions, [mark], now=now, generation=meta.generation),
    }
    return patch("DataAsset", meta, asset.status.dump(), status)
