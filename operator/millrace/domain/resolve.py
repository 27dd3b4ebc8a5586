"""From a JobRun and what it names to what can be run, or to the obstacle: pure, and the only place that decides so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.api.base import seconds
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import OBJECT_STORES, DataStore
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.api.rundata import Input, Output
from millrace.domain.checks import check_mounts, check_nesting
from millrace.domain.conditions import find
from millrace.domain.declared import check_declared, with_declared
from millrace.domain.kinds import check_kinds
from millrace.domain.names import revision_name
from millrace.domain.obstacle import Obstacle
from millrace.domain.places import check_source, place_of_source, places_of_inputs
from millrace.domain.reasons import Reason
from millrace.domain.resolved import NOTHING_MAPPED, Mapped, Resolved, ResolvedInput, ResolvedOutput, ResolvedSource
from millrace.domain.settings import DEFAULT_PYTHON, Profile, Settings
from millrace.domain.shards import sliced_input


def check_function(function: Function, settings: Settings) -> Obstacle | None:
    """What keeps every run of this Function from starting, if anything does."""
    version = function.spec.python_version or DEFAULT_PYTHON
    needs_ours = not (function.spec.image or function.spec.base_image)
    if needs_ours and version not in settings.python_versions:
        offered = ", ".join(sorted(settings.python_versions))
        return Obstacle(
            Reason.PYTHON_VERSION_NOT_OFFERED, f"spec.pythonVersion {version} is not offered here; offered: {offered}"
        )
    if len((function.spec.source.inline or "").encode()) > 128 * 1024:
        return Obstacle(
            Reason.SOURCE_TOO_LARGE, "spec.source.inline has more than 131072 bytes; keep data and generated code out of it"
        )
    return check_declared(function) or check_source(function)


def default_store(stores: Mapping[str, DataStore]) -> DataStore | None:
    """The namespace's default store; of several the oldest."""
    marked = [store for store in stores.values() if store.is_default]
    return min(marked, key=lambda s: (s.metadata.creation_timestamp, s.metadata.name), default=None)


def _check_store(name: str, stores: Mapping[str, DataStore]) -> Obstacle | None:
    store = stores.get(name)
    if store is None:
        return Obstacle(Reason.DATA_STORE_NOT_FOUND, f"DataStore {name} does not exist in this namespace")
    ready = find(store.status.conditions, "Ready")
    if ready is None or ready.observed_generation != store.metadata.generation or ready.status == "Unknown":
        return Obstacle(Reason.DATA_STORE_NOT_CHECKED, f"DataStore {name} is being checked", known=False)
    if ready.status == "False":
        return Obstacle(Reason.DATA_STORE_NOT_READY, f"DataStore {name}: {ready.reason}: {ready.message}")
    return None


def _with_profile(run: JobRun, profile: Profile) -> JobRun:
    """The run as its profile has it: name by name the profile wins, and its tolerations are added."""
    own = run.spec.resources or {}
    parts = {part: {**own.get(part, {}), **profile.resources.get(part, {})} for part in ("requests", "limits")}
    changes = {
        "resources": {**own, **{part: found for part, found in parts.items() if found}},
        "node_selector": {**run.spec.node_selector, **profile.node_selector},
        "tolerations": [*run.spec.tolerations, *profile.tolerations],
        "affinity": profile.affinity or run.spec.affinity,
        "priority_class_name": profile.priority_class_name or run.spec.priority_class_name,
        "runtime_class_name": profile.runtime_class_name or run.spec.runtime_class_name,
    }
    return run.model_copy(update={"spec": run.spec.model_copy(update=changes)})


def _profiled(run: JobRun, settings: Settings) -> JobRun | Obstacle:
    if run.spec.profile is None:
        return run
    profile = settings.profiles.get(run.spec.profile)
    if profile is None:
        offered = ", ".join(sorted(settings.profiles)) or "none"
        return Obstacle(Reason.PROFILE_NOT_FOUND, f"spec.profile {run.spec.profile} is not offered here; offered: {offered}")
    return _with_profile(run, profile)


def substitute(path: str, run: JobRun) -> str:
    """Replaces {run}, {date} and {time} (of the run's creation, UTC) in a path."""
    created = run.metadata.creation_timestamp  # 2026-01-31T08:30:00Z
    return (
        path.replace("{run}", run.metadata.name)
        .replace("{date}", created[:10])
        .replace("{time}", created[11:19].replace(":", ""))
    )


def output_key(output: Output, run: JobRun) -> str:
    """PATH/OUTPUT.zip, or assets/ASSET/UID/OUTPUT.zip; a folder where nothing is zipped."""
    if output.data_store is not None:
        folder = substitute(output.data_store.path, run).strip("/")
    else:
        folder = f"assets/{output.asset}/{run.metadata.uid}"
        if run.spec.parallel:  # its parts and their manifest are the version
            folder = f"{folder}/{output.name}"
    return f"{folder}/{output.name}/" if output.archive == "None" else f"{folder}/{output.name}.zip"


def version_path(output: Output, run: JobRun) -> str:
    """Where the version of an asset is that an output makes: its object or folder; of a run in shards the folder of all."""
    key = output_key(output, run)
    return key.rstrip("/").rpartition("/")[0] if run.spec.parallel else key


def _logs_store(
    run: JobRun, default: DataStore | None, outputs: tuple[ResolvedOutput, ...], stores: Mapping[str, DataStore]
) -> DataStore | Obstacle | None:
    wanted = run.spec.logs or ("Archive" if run.spec.inputs or run.spec.outputs else "None")
    if wanted == "None":
        return None
    fitting = [store for store in (default, *(output.store for output in outputs[:1])) if store and store.spec.writable]
    if fitting:
        return _check_store(fitting[0].metadata.name, stores) or fitting[0]
    if run.spec.logs is None:
        return None
    what = "logs: Archive needs a default store in the namespace that can be written to, or an output"
    return Obstacle(Reason.DEFAULT_STORE_NOT_FOUND, what)


def _cache_store(function: Function, default: DataStore | None, stores: Mapping[str, DataStore]) -> DataStore | None:
    """Where installed requirements are kept. A run never waits for it: it starts later without, but it starts.

    Not in a folder, of a claim or a local run: who may write beside somebody's data should not decide what code runs.
    """
    if not function.spec.requirements or default is None or default.spec.kind not in OBJECT_STORES:
        return None
    return None if _check_store(default.metadata.name, stores) else default


NO_DEFAULT_STORE = Obstacle(
    Reason.DEFAULT_STORE_NOT_FOUND,
    "an output with asset goes to the namespace's default store; give one DataStore the annotation "
    'millrace.dev/is-default: "true"',
)


def resolve(
    run: JobRun,
    function: Function | None,
    stores: Mapping[str, DataStore],
    assets: Sequence[DataAsset],
    settings: Settings,
    mapped: Mapped = NOTHING_MAPPED,
) -> Resolved | Obstacle:
    """Decides what is run; stores (by name) and assets are those of its namespace. The first obstacle found is returned."""
    if function is None:
        return Obstacle(Reason.FUNCTION_NOT_FOUND, f"Function {run.spec.function} does not exist in this namespace")
    if obstacle := check_function(function, settings):
        return obstacle
    complete = with_declared(run, function, mapped.from_environment.keys())
    if isinstance(complete, Obstacle):
        return complete
    run = complete
    if obstacle := check_nesting(run) or check_mounts(run):
        return obstacle
    profiled = _profiled(run, settings)
    if isinstance(profiled, Obstacle):
        return profiled
    run = profiled
    default = default_store(stores)
    needs_default = any(output.asset for output in run.spec.outputs)
    if default is None and needs_default:
        return NO_DEFAULT_STORE
    inputs = places_of_inputs(run, assets, default)
    if isinstance(inputs, Obstacle):
        return inputs
    source = place_of_source(function, run, stores, assets, default)
    if isinstance(source, Obstacle):
        return source
    named = [place.store for place in (*inputs, source) if place and place.store]
    named += [o.data_store.name for o in run.spec.outputs if o.data_store]
    named += [default.metadata.name] if default and needs_default else []
    for name in dict.fromkeys(named):
        if obstacle := _check_store(name, stores):
            return obstacle
    outputs = tuple(
        ResolvedOutput(o, stores[o.data_store.name] if o.data_store else default, output_key(o, run))  # type: ignore[arg-type]
        for o in run.spec.outputs
        if not o.href
    )
    staged = tuple(
        ResolvedInput(i, stores.get(place.store or ""), place.path, _staged(i, place.store, default), place.asset)
        for i, place in zip(run.spec.inputs, inputs, strict=True)
    )
    if obstacle := check_kinds(staged, outputs):
        return obstacle
    logs = _logs_store(run, default, outputs, stores)
    if isinstance(logs, Obstacle):
        return logs
    sliced = sliced_input(run, staged, [*(output.store for output in outputs), *([logs] if logs else [])])
    if isinstance(sliced, Obstacle):
        return sliced
    version = function.spec.python_version or DEFAULT_PYTHON
    own_image = function.spec.image or function.spec.base_image
    return Resolved(
        run=run,
        function=function,
        revision=revision_name(function.metadata.name, function.spec.dump()),
        image=own_image or settings.python_versions[version],
        image_is_ours=own_image is None,
        python_version=version,
        source=ResolvedSource(stores.get(source.store or ""), source.path, source.asset) if source else None,
        inputs=staged,
        outputs=outputs,
        logs_store=logs,
        cache_store=_cache_store(function, default, stores),
        mapped=mapped,
        sliced=sliced,
    )


def _staged(found: Input, store: str | None, default: DataStore | None) -> bool:
    """Auto, as in the seeds: what is managed (in the default store) is downloaded, else it is left to the script."""
    if store is None:
        return found.stage != "Never"
    match found.stage or "Auto":
        case "Download" | "Mount":
            return True
        case "Never":
            return False
        case _:
            return default is not None and store == default.metadata.name


def queued_seconds(run: JobRun) -> int:
    """How long the run may wait for its start."""
    return seconds(run.spec.timeouts.queued)
