"""How far an attempt is, and what its pod reports for the status: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace import protocol as p
from millrace.api.jobrun import Phase
from millrace.observe.pod import PodFacts


def phase_of(pod: PodFacts) -> tuple[Phase, str | None]:
    """The phase of a pod that is not over, and since when (None: since the pod is there).

    Between stage and main it is Pending again, and has its time anew: staging may have taken longer than that.
    """
    stage, main, collect = (pod.container(name) for name in (p.STAGE, p.MAIN, p.COLLECT))
    if main.over:
        return Phase.UPLOADING, main.finished
    if main.running:
        return Phase.RUNNING, main.started
    if stage.running:
        return Phase.STAGING, stage.started
    if collect.running and not main.waiting:
        # A merge has no main.
        return Phase.RUNNING if p.MAIN in pod.containers else Phase.UPLOADING, collect.started
    return Phase.PENDING, stage.finished


def times_of(pod: PodFacts) -> dict[str, str]:
    """Times of the status, as far as the pod knows them."""
    stage, main, collect = (pod.container(name) for name in (p.STAGE, p.MAIN, p.COLLECT))
    found = {
        "staged": stage.finished,
        "started": main.started,
        "exited": main.finished,
        "uploaded": collect.finished if collect.exit_code == 0 else None,
    }
    return {key: value for key, value in found.items() if value}


def inputs_of(pod: PodFacts) -> list[dict[str, Any]]:
    """What stage reports about the inputs."""
    return _entries(pod.container(p.STAGE).report().get("inputs"))


def source_of(pod: PodFacts) -> dict[str, Any]:
    """What stage reports about the archive of the code."""
    found = pod.container(p.STAGE).report().get("source")
    return found if isinstance(found, dict) else {}


def outputs_of(pod: PodFacts, assets: Mapping[str, str], versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """What collect reports as published; `assets` maps outputs to their assets, `versions` to the versions made."""
    about = {name: {"asset": asset} for name, asset in assets.items()}
    for name, version in versions.items():
        about[name]["version"] = version
    return [
        {**entry, **about.get(entry["name"], {})} for entry in _entries(pod.container(p.COLLECT).report().get("outputs"))
    ]


def tables_of(pod: PodFacts) -> dict[str, dict[str, Any]]:
    """Rows and columns of the outputs that are tables, as user code has told them."""
    found = _entries(pod.container(p.COLLECT).report().get("tables"))
    return {
        entry["name"]: {
            "rows": entry["rows"],
            "columns": [{"name": name, "type": kind} for name, kind in entry.get("columns", [])],
        }
        for entry in found
    }


def logs_of(pod: PodFacts) -> str | None:
    """Where collect has archived the logs; stage, where it has failed, its own."""
    found = [pod.container(name).report().get("logs") for name in (p.COLLECT, p.STAGE)]
    return next((uri for uri in found if isinstance(uri, str)), None)


def warnings_of(pod: PodFacts) -> list[str]:
    """What collect warns of: files that were left out."""
    found = pod.container(p.COLLECT).report().get("warnings")
    return [str(warning)[:512] for warning in found][:16] if isinstance(found, list) else []


def _entries(found: object) -> list[dict[str, Any]]:
    if not isinstance(found, list):
        return []
    return [entry for entry in found if isinstance(entry, dict) and isinstance(entry.get("name"), str)]
