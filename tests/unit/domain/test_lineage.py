"""Lineage: what a version was made of and what was made of it, whatever has been deleted since."""

from __future__ import annotations

from typing import Any

from fixtures.objects import metadata, run, stamp
from millrace.api.dataasset import DataAsset
from millrace.cli.lineage import tree
from millrace.domain.lineage import Lineage, lineage


def version(name: str, number: str, maker: str | None = None, **inputs: Any) -> DataAsset:
    """NAME@NUMBER, made by a run of that name; inputs by name: (asset, version) or a place."""
    used = [
        {"name": key, "reference": value} if isinstance(value, str) else {"name": key, **named(*value)}
        for key, value in inputs.items()
    ]
    producer = {"jobRun": maker, "uid": f"uid-{maker}", "function": "f", "functionRevision": "f-1", "inputs": used}
    return DataAsset.model_validate(
        {
            "metadata": metadata(f"{name}-{number}", f"uid-{name}-{number}", creationTimestamp=stamp(int(number))),
            "spec": {"asset": name, "version": number, "path": "p"},
            "status": {"version": number, **({"producedBy": producer} if maker else {})},
        }
    )


def named(asset: str, number: str) -> dict[str, str]:
    return {"asset": asset, "version": number, "assetUid": f"uid-{asset}-{number}"}


RAW = version("raw", "1")
CLEAN = version("clean", "1", "tidy", data=("raw", "1"), extra="lake/paths/more")
OTHER = version("clean", "2", "tidy-2", data=("raw", "1"))
SCORES = version("scores", "1", "score", data=("clean", "1"), model=("model", "4"))
TOTAL = version("total", "1", "sum", a=("scores", "1"), b=("clean", "1"))
ALL = [RAW, CLEAN, OTHER, SCORES, TOTAL]


def shown(found: Lineage, key: str) -> str:
    return "\n".join(tree(found.around(key), key))


def test_runs_that_were_deleted_are_in_it_and_so_are_versions() -> None:
    assert shown(lineage(ALL, []), "uid-scores-1") == (
        "scores@1\n"
        "├─ made by\n"
        "│  └─ run score, Function f, revision f-1 (deleted)\n"
        "│     ├─ data: clean@1\n"
        "│     │  └─ run tidy, Function f, revision f-1 (deleted)\n"
        "│     │     ├─ data: raw@1\n"
        "│     │     └─ extra: lake/paths/more\n"
        "│     └─ model: model@4 (deleted)\n"
        "└─ read by\n"
        "   └─ run sum, Function f, revision f-1 (deleted)\n"
        "      └─ total@1"
    )


def test_only_what_a_version_comes_from_and_what_came_of_it() -> None:
    found = lineage(ALL, []).around("uid-scores-1").dump("uid-scores-1")
    assert {run["name"] for run in found["runs"]} == {"score", "tidy", "sum"}  # not tidy-2, a cousin
    [score] = [each for each in found["runs"] if each["name"] == "score"]
    assert score["outputs"] == ["scores@1"]
    assert [each["version"] for each in score["inputs"]] == ["clean@1", "model@4"]
    assert {f"{each['asset']}@{each['version']}": each["deleted"] for each in found["versions"]} == {
        "scores@1": False, "clean@1": False, "raw@1": False, "model@4": True, "total@1": False,
    }  # fmt: skip


def test_a_run_that_has_read_a_version_and_made_none_is_there_as_long_as_it_is() -> None:
    reader = run("report", status={"inputs": [{"name": "data", **named("raw", "1")}], "functionRevision": "heart-9"})
    assert shown(lineage([RAW], [reader]), "uid-raw-1") == (
        "raw@1\n└─ read by\n   └─ run report, Function heart, revision heart-9"
    )
    assert shown(lineage([RAW], []), "uid-raw-1") == "raw@1\n└─ no run of this namespace has made or read it"


def test_a_version_that_was_made_anew_under_an_old_name_is_another_one() -> None:
    again = RAW.model_copy(update={"metadata": RAW.metadata.model_copy(update={"uid": "uid-again"})})
    found = lineage([again, CLEAN], [])
    assert found.readers("uid-again") == []
    assert "data: raw@1 (deleted)" in shown(found, "uid-clean-1")


def test_what_is_met_twice_is_told_once_and_a_circle_ends() -> None:
    found = shown(lineage(ALL, []), "uid-total-1")
    assert found.count("run tidy,") == 2
    assert found.count("data: raw@1") == 1
    assert found.count(": see above") == 1
    first, second = version("a", "1", "one", x=("b", "1")), version("b", "1", "two", x=("a", "1"))
    assert "see above" in shown(lineage([first, second], []), "uid-a-1")
