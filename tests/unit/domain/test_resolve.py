"""From a JobRun and what it names to what can be run, or to the obstacle."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import DATA, SETTINGS, function, run, stamp, store
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.domain.checks import DEEPEST
from millrace.domain.obstacle import Obstacle
from millrace.domain.resolve import check_function, default_store, resolve, substitute
from millrace.domain.resolved import Resolved
from millrace.domain.settings import Profile


def resolved(spec: dict[str, Any], *stores: DataStore, code: Function | None = None) -> Resolved | Obstacle:
    return resolve(run(**spec), code or function(), {found.metadata.name: found for found in stores}, (), SETTINGS)


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"a": found}
    return found


ASSET = {"outputs": [{"name": "scores", "asset": "heart-scores"}]}
INPUT = {"inputs": [{"name": "data", **DATA}]}
WEB_SERVER = store(s3=None, http={"baseUrl": "https://data.test"})
WAREHOUSE = {"dataStore": {"name": "warehouse", "path": "out"}}
OBSTACLES: dict[str, tuple[Resolved | Obstacle, str, bool, bool, str]] = {
    "no function": (resolve(run(), None, {}, (), SETTINGS), "FunctionNotFound", True, True, "Function heart"),
    "a Python that is not offered": (
        resolved({}, code=function(pythonVersion="3.9")),
        "PythonVersionNotOffered",
        True,
        True,
        "3.9 is not offered here; offered: 3.11, 3.13",
    ),
    "a source of many bytes in few characters": (
        resolved({}, code=function(source={"inline": "ü" * 70_000})),
        "SourceTooLarge",
        True,
        True,
        "131072 bytes",
    ),
    "a profile that is not offered": (
        resolved({"profile": "huge"}),
        "ProfileNotFound",
        True,
        True,
        "spec.profile huge is not offered here; offered: none",
    ),
    "an input and a parameter of one name": (
        resolved({**INPUT, "parameters": {"data": 1}}, store()),
        "ParameterMismatch",
        False,
        True,
        "data",
    ),
    "parameters that are too deep": (
        resolved({"parameters": deep(DEEPEST + 1)}),
        "PayloadTooLarge",
        False,
        True,
        f"spec.parameters is nested deeper than {DEEPEST} levels",
    ),
    "inputData that is too deep": (
        resolved({"inputData": [{"values": [[1], deep(9000)]}]}),
        "PayloadTooLarge",
        False,
        True,
        "spec.inputData is nested",
    ),
    "an affinity that is too deep": (
        resolved({"affinity": {"nodeAffinity": deep(9000)}}),
        "PayloadTooLarge",
        False,
        True,
        "spec.affinity is nested",
    ),
    **{
        f"a web address: {says}": (
            resolved({"inputs": [{"name": "data", "uri": uri, "type": "uri_file"}]}),
            "ReferenceRejected",
            False,
            True,
            f"input data: {says}",
        )
        for uri, says in [
            ("https://user:canary@data.test/a", "https://...@data.test: a credential in an address"),
            ("https://data.test/a?X-Amz-Signature=canary", "https://data.test/a?...: a credential in an address"),
            ("https://data.test/a#b", "https://data.test/a#b: a fragment"),
            ("https://data.test/../a", "https://data.test/../a: the path must not"),
        ]
    },
    **{
        f"inline rows that are no table: {says}": (
            resolved({"inputs": [{"name": "data", "inline": inline}]}),
            "InlineRejected",
            False,
            True,
            f"input data: inline.{says}",
        )
        for inline, says in [
            ({"fields": ["a", "b"], "values": [[1, 2], [3]]}, "values[1] has 1 values, and there are 2 fields"),
            ({"fields": [], "values": [[1]]}, "values[0] has 1 values, and there are 0 fields"),
            ({"values": [[1], 2]}, "values[1] is no list of values"),
            ({"fields": ["a"], "values": ["x"]}, "values[0] is no list of values"),
            ({"values": [[1], [2], [3, 4]]}, "values[2] has 2 values, and values[0] has 1"),
        ]
    },
    "a mount of one of our volumes": (
        resolved({"volumeMounts": [{"name": "seal", "mountPath": "/x"}]}),
        "InvalidPodTemplate",
        False,
        True,
        "seal is not a name under volumes",
    ),
    **{
        f"a mount at {path}": (
            resolved({"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": path}]}),
            "InvalidPodTemplate",
            False,
            True,
            "millrace's own",
        )
        for path in (
            "/",
            "/millrace",
            "/millrace/ctl/",
            "/a/../millrace/run",
            "//millrace/run",
            "millrace/run",
            "../millrace",
            "/opt",
            "/opt/millrace/runtime/x",
        )
    },
    "a mount of what is no claim": (
        resolved({"inputs": [{"name": "data", **DATA, "stage": "Mount"}]}, store()),
        "MountUnsupported",
        False,
        True,
        "spec.inputs[data].stage: Mount is for stores of kind volume, and DataStore lake is s3",
    ),
    "a folder of a web server": (
        resolved({"inputs": [{"name": "data", **DATA}]}, WEB_SERVER),
        "ListingUnsupported",
        False,
        True,
        "spec.inputs[data]: DataStore lake is a web server, which lists no folders; set type: uri_file",
    ),
    "an output to a web server": (
        resolved({"outputs": [{"name": "scores", **DATA}]}, WEB_SERVER),
        "DataStoreReadOnly",
        False,
        True,
        "spec.outputs[scores]: DataStore lake is a web server: nothing is written to it",
    ),
    "an asset in a default store that is read-only": (
        resolved(ASSET, store(s3=None, volume={"claimName": "c", "readOnly": True})),
        "DataStoreReadOnly",
        False,
        True,
        "spec.outputs[scores]: DataStore lake has volume.readOnly: nothing is written to it",
    ),
    "logs in a default store that is read-only": (
        resolved({"logs": "Archive"}, WEB_SERVER),
        "DefaultStoreNotFound",
        True,
        True,
        "a default store in the namespace that can be written to",
    ),
    "a store that is not there": (resolved(INPUT), "DataStoreNotFound", True, True, "DataStore lake does not exist"),
    "a store without a probe's answer": (resolved(INPUT, store(ready=None)), "DataStoreNotChecked", True, False, "lake"),
    "a store being probed": (resolved(INPUT, store(ready="Unknown")), "DataStoreNotChecked", True, False, "lake"),
    "a store that was changed since": (
        resolved(INPUT, store(meta={"generation": 2})),
        "DataStoreNotChecked",
        True,
        False,
        "lake",
    ),
    "a store that is not ready": (
        resolved(INPUT, store(ready="False", reason="BucketNotFound", message="no bucket lake")),
        "DataStoreNotReady",
        True,
        True,
        "BucketNotFound: no bucket lake",
    ),
    "an output's store that is not there": (
        resolved({"outputs": [{"name": "scores", **WAREHOUSE}]}, store()),
        "DataStoreNotFound",
        True,
        True,
        "warehouse",
    ),
    "an asset without a default store": (
        resolved(ASSET, store(default=False)),
        "DefaultStoreNotFound",
        True,
        True,
        'millrace.dev/is-default: "true"',
    ),
    "an asset, and the default store is not ready": (
        resolved(ASSET, store(ready="False", reason="Unreachable")),
        "DataStoreNotReady",
        True,
        True,
        "Unreachable",
    ),
    "logs to archive and no store": (resolved({"logs": "Archive"}), "DefaultStoreNotFound", True, True, "logs: Archive"),
    "logs to archive, and the store is not ready": (
        resolved({"logs": "Archive"}, store(ready="False", reason="Unreachable")),
        "DataStoreNotReady",
        True,
        True,
        "lake",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacles(name: str) -> None:
    found, reason, heals, known, says = OBSTACLES[name]
    assert isinstance(found, Obstacle)
    assert (found.reason, found.heals, found.known) == (reason, heals, known)
    assert says in found.message


def test_a_function_that_no_run_can_start() -> None:
    found = check_function(function(pythonVersion="3.9"), SETTINGS)
    assert found
    assert found.reason == "PythonVersionNotOffered"
    assert check_function(function(), SETTINGS) is None
    assert check_function(function(pythonVersion="3.9", image="own:1"), SETTINGS) is None, "an own image has its own Python"


def done(spec: dict[str, Any], *stores: DataStore, code: Function | None = None) -> Resolved:
    found = resolved(spec, *stores, code=code)
    assert isinstance(found, Resolved), found
    return found


def test_the_default_store_is_the_oldest_that_is_marked() -> None:
    old = store("old", meta={"creationTimestamp": stamp(-500)})
    new = store("new", meta={"creationTimestamp": stamp(-100)})
    other = store("other", default=False, meta={"creationTimestamp": stamp(-900)})
    stores = {found.metadata.name: found for found in (new, other, old)}
    assert default_store(stores) == old
    twin = store("a-twin", meta={"creationTimestamp": stamp(-500)})
    assert default_store({**stores, "a-twin": twin}) == twin, "the name decides among equals"
    assert default_store({"other": other}) is None
    assert not store(meta={"annotations": {"millrace.dev/is-default": "yes"}}).is_default


@pytest.mark.parametrize(
    ("stage", "connected", "staged"),
    {
        "Auto from the default store": (None, False, True),
        "Auto, said so": ("Auto", False, True),
        "Auto from another store": (None, True, False),
        "Download from another store": ("Download", True, True),
        "Never from the default store": ("Never", False, False),
    }.values(),
)
def test_what_is_staged(stage: str | None, connected: bool, staged: bool) -> None:
    place = WAREHOUSE if connected else DATA
    spec = {"inputs": [{"name": "data", **place, **({"stage": stage} if stage else {})}]}
    found = done(spec, store(), store("warehouse", default=False))
    assert [entry.staged for entry in found.inputs] == [staged]


@pytest.mark.parametrize("inline", [{"fields": ["a"], "values": [[1], [None]]}, {"values": [[1, "x"]]}, {"values": []}])
def test_inline_data_is_staged_and_needs_no_store(inline: dict[str, Any]) -> None:
    found = done({"inputs": [{"name": "data", "inline": inline}]})
    assert [(entry.staged, entry.store) for entry in found.inputs] == [(True, None)]
    assert found.stores == ()


@pytest.mark.parametrize(("stage", "staged"), [(None, True), ("Auto", True), ("Download", True), ("Never", False)])
def test_a_web_address_is_fetched_unless_told_otherwise_and_needs_no_store(stage: str | None, staged: bool) -> None:
    address = {"name": "data", "uri": "https://data.test/a.csv", "type": "uri_file", **({"stage": stage} if stage else {})}
    found = done({"inputs": [address]})
    assert [(entry.staged, entry.store) for entry in found.inputs] == [(staged, None)]
    assert (found.fetches, found.needs_authorities) == (staged, staged)


def test_without_a_default_store_auto_stages_nothing() -> None:
    found = done(INPUT, store(default=False))
    assert [entry.staged for entry in found.inputs] == [False]
    assert found.logs_store is None
    assert found.stores == ()


@pytest.mark.parametrize(
    ("output", "key"),
    {
        "an asset": ({"asset": "heart-scores"}, "assets/heart-scores/run-uid/scores.zip"),
        "an asset that is not zipped": ({"asset": "heart", "archive": "None"}, "assets/heart/run-uid/scores/"),
        "a path": ({"dataStore": {"name": "lake", "path": "out/daily"}}, "out/daily/scores.zip"),
        "a path with a slash at its end": ({"dataStore": {"name": "lake", "path": "out/"}}, "out/scores.zip"),
        "a path that is not zipped": ({"dataStore": {"name": "lake", "path": "out"}, "archive": "None"}, "out/scores/"),
        "run, date and time": (
            {"dataStore": {"name": "lake", "path": "{date}/{time}/{run}/{run}-{other}"}},
            "2026-01-31/080000/score/score-{other}/scores.zip",
        ),
    }.values(),
)
def test_keys(output: dict[str, Any], key: str) -> None:
    found = done({"outputs": [{"name": "scores", **output}]}, store())
    assert [entry.key for entry in found.outputs] == [key]


def test_substitution_is_of_the_run_not_of_the_clock() -> None:
    later = run(meta={"creationTimestamp": "2026-12-31T23:59:59Z"})
    assert substitute("{date}T{time}", later) == "2026-12-31T235959"


@pytest.mark.parametrize(
    ("spec", "stores", "logs"),
    {
        "nothing asked for": ({}, ["lake"], None),
        "inputs": (INPUT, ["lake"], "lake"),
        "outputs": (ASSET, ["lake"], "lake"),
        "asked not to": ({**INPUT, "logs": "None"}, ["lake"], None),
        "asked to": ({"logs": "Archive"}, ["lake"], "lake"),
        "no default store, an output": ({"outputs": [{"name": "scores", **WAREHOUSE}]}, [], "warehouse"),
        "a default store and an output elsewhere": ({"outputs": [{"name": "scores", **WAREHOUSE}]}, ["lake"], "lake"),
    }.values(),
)
def test_where_logs_go(spec: dict[str, Any], stores: list[str], logs: str | None) -> None:
    found = done(spec, *(store(name) for name in stores), store("warehouse", default=False))
    assert (found.logs_store.metadata.name if found.logs_store else None) == logs


def test_the_store_of_the_first_output_comes_first() -> None:
    """It holds the commit record."""
    spec = {**INPUT, "outputs": [{"name": "scores", **WAREHOUSE}, {"name": "model", "asset": "heart"}]}
    found = done(spec, store(), store("warehouse", default=False))
    assert [entry.metadata.name for entry in found.stores] == ["warehouse", "lake"]


def test_an_output_with_href_is_the_scripts_affair() -> None:
    found = done({"outputs": [{"name": "scores", "href": "s3://elsewhere/x"}]}, store())
    assert found.outputs == ()


@pytest.mark.parametrize(
    ("spec", "image", "ours"),
    {
        "nothing said": ({}, "registry.test/runtime-3.13:1", True),
        "a Python version": ({"pythonVersion": "3.11"}, "registry.test/runtime-3.11:1", True),
        "a base image": ({"baseImage": "base:1"}, "base:1", False),
        "an image": ({"image": "own:1"}, "own:1", False),
    }.values(),
)
def test_images(spec: dict[str, Any], image: str, ours: bool) -> None:
    found = done({}, code=function(**spec))
    assert (found.image, found.image_is_ours) == (image, ours)


def test_json_may_be_as_deep_as_the_limit() -> None:
    assert done({"parameters": deep(DEEPEST)})


def test_a_mount_beside_ours_is_the_users_affair() -> None:
    mounts = [{"name": "v", "mountPath": path} for path in ("/models", "/millrace2", "/opt/models", "/data")]
    assert done({"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": mounts})


GPU = Profile.model_validate(
    {
        "resources": {"limits": {"memory": "8Gi", "nvidia.com/gpu": 1}},
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
    }
)
OWN = {
    "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "64Gi", "cpu": "4"}, "claims": [{"name": "c"}]},
    "nodeSelector": {"gpu": "any", "zone": "a"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "batch",
}


def test_a_profile_wins_name_by_name_and_keeps_what_it_does_not_say() -> None:
    settings = SETTINGS.model_copy(update={"profiles": {"gpu": GPU}})
    found = resolve(run(profile="gpu", **OWN), function(), {}, (), settings)
    assert isinstance(found, Resolved), found
    spec = found.run.spec
    assert spec.resources == {
        "requests": {"cpu": "2"},
        "limits": {"memory": "8Gi", "cpu": "4", "nvidia.com/gpu": 1},
        "claims": [{"name": "c"}],
    }
    assert spec.node_selector == {"gpu": "a100", "zone": "a"}
    assert [each["key"] for each in spec.tolerations] == ["spot", "gpu"]
    assert (spec.affinity, spec.priority_class_name, spec.runtime_class_name) == ({"nodeAffinity": {}}, "batch", "nvidia")
    assert found.profile == {"name": "gpu", "resources": spec.resources}


def test_a_profile_alone_is_what_the_run_gets() -> None:
    settings = SETTINGS.model_copy(update={"profiles": {"gpu": GPU}})
    found = resolve(run(profile="gpu"), function(), {}, (), settings)
    assert isinstance(found, Resolved), found
    assert found.run.spec.resources == GPU.resources
    assert found.run.spec.node_selector == GPU.node_selector


@pytest.mark.parametrize(
    ("spec", "code", "stores", "cache", "data"),
    {
        "requirements": ({}, {"requirements": ["x"]}, [store()], "lake", []),
        "no requirements": ({}, {}, [store()], None, []),
        "no default store": ({}, {"requirements": ["x"]}, [store(default=False)], None, []),
        "a folder of a local run": ({}, {"requirements": ["x"]}, [store(s3=None)], None, []),
        "a default store that is not ready": ({}, {"requirements": ["x"]}, [store(ready="False")], None, []),
        "a default store that is being checked": ({}, {"requirements": ["x"]}, [store(ready=None)], None, []),
        "an output elsewhere: its store holds the commit record": (
            {"outputs": [{"name": "scores", **WAREHOUSE}], "logs": "None"},
            {"requirements": ["x"]},
            [store("archive"), store("warehouse", default=False)],
            "archive",
            ["warehouse"],
        ),
        "data in the same store": (INPUT, {"requirements": ["x"]}, [store()], "lake", ["lake"]),
    }.values(),
)
def test_requirements_are_kept_in_the_default_store_and_no_run_waits_for_it(
    spec: dict[str, Any], code: dict[str, Any], stores: list[DataStore], cache: str | None, data: list[str]
) -> None:
    found = done(spec, *stores, code=function(**code))
    assert (found.cache_store.metadata.name if found.cache_store else None) == cache
    assert [entry.metadata.name for entry in found.data_stores] == data
    assert [entry.metadata.name for entry in found.stores] == list(dict.fromkeys([*data, *([cache] if cache else [])]))
