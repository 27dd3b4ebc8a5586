"""Where the zip of a source is."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import SETTINGS, function, metadata, run, stamp, store
from millrace.api.dataasset import DataAsset
from millrace.domain.assets import named_assets
from millrace.domain.obstacle import Obstacle
from millrace.domain.resolve import resolve
from millrace.domain.resolved import Resolved

LAKE = store()
TEAM = store("team", default=False, s3={"bucket": "warehouse", "prefix": "team/a", "endpoint": "http://x.test"})
WHOLE = store("whole", default=False, s3={"bucket": "warehouse", "endpoint": "http://x.test"})
AZURE = store("azure", default=False, s3=None, azureBlob={"account": "lakes", "container": "code"})
BROKEN = store("broken", default=False, ready="False", reason="Unreachable")


def version(number: str, ready: str = "True") -> DataAsset:
    condition = {"type": "Ready", "status": ready, "reason": "Valid", "lastTransitionTime": stamp(int(number))}
    return DataAsset.model_validate(
        {
            "metadata": metadata(f"code-{number}", f"uid-{number}", creationTimestamp=stamp(int(number))),
            "spec": {"asset": "code", "path": f"code/{number}.zip", "type": "uri_file"},
            "status": {"version": number, "conditions": [condition]},
        }
    )


ASSETS = (version("1"), version("2"), version("3", ready="False"))


def resolved(uri: str, **status: Any) -> Resolved | Obstacle:
    code = function(source={"zip": {"uri": uri, "sha256": "5" * 64}})
    stores = {found.metadata.name: found for found in (LAKE, TEAM, WHOLE, AZURE, BROKEN)}
    return resolve(run(status=status), code, stores, ASSETS, SETTINGS)


@pytest.mark.parametrize(
    ("uri", "name", "path"),
    [
        ("lake/paths/code/heart.zip", "lake", "code/heart.zip"),
        ("azureml://datastores/lake/paths/code/heart.zip", "lake", "code/heart.zip"),
        ("s3://lake/heart.zip", "lake", "heart.zip"),
        ("s3://warehouse/team/a/heart.zip", "team", "heart.zip"),
        ("s3://warehouse/team/ab/heart.zip", "whole", "team/ab/heart.zip"),
        ("az://code/heart.zip", "azure", "heart.zip"),
        ("abfss://code@lakes.dfs.core.windows.net/heart.zip", "azure", "heart.zip"),
        ("code:1", "lake", "code/1.zip"),
        ("code@latest", "lake", "code/2.zip"),
        ("azureml:code:2", "lake", "code/2.zip"),
        ("https://code.test/heart.zip", None, ""),
        ("https://lakes.blob.core.windows.net/code/heart.zip", None, ""),
    ],
)
def test_a_reference_of_a_zip_is_a_place_in_a_store_or_a_web_address(uri: str, name: str | None, path: str) -> None:
    found = resolved(uri)
    assert isinstance(found, Resolved), found
    assert found.source
    assert (found.source.store.metadata.name if found.source.store else None, found.source.path) == (name, path)
    assert found.fetches == (name is None)
    assert [each.metadata.name for each in found.needed_stores] == ([name] if name else [])
    assert found.data_stores == (), "collect has no part in it"


@pytest.mark.parametrize(
    ("uri", "reason", "heals", "message"),
    [
        ("gone/paths/heart.zip", "DataStoreNotFound", True, "DataStore gone does not exist"),
        ("broken/paths/heart.zip", "DataStoreNotReady", True, "DataStore broken: Unreachable"),
        ("s3://elsewhere/heart.zip", "DataStoreNotFound", True, "no DataStore of this namespace names that bucket"),
        ("gs://lake/heart.zip", "DataStoreNotFound", True, "no DataStore of this namespace names that bucket"),
        ("code:7", "AssetNotFound", True, "Function heart: spec.source.zip.uri: there is no code:7"),
        ("code:3", "AssetNotFound", True, "is not ready"),
        ("store://other/dataset/code:1", "ReferenceForbidden", False, "another namespace"),
        ("hdfs://name/heart.zip", "ReferenceRejected", True, "spec.source.zip.uri: hdfs://name/heart.zip: Hadoop"),
        ("lake/paths/../heart.zip", "ReferenceRejected", True, "segments . or .."),
        ("heart.zip", "ReferenceRejected", True, "not a reference"),
    ],
)
def test_what_keeps_a_zip_from_being_found_is_named(uri: str, reason: str, heals: bool, message: str) -> None:
    found = resolved(uri)
    assert isinstance(found, Obstacle), found
    assert (found.reason, found.heals) == (reason, heals)
    assert message in found.message


def test_the_latest_version_of_the_code_stays_the_one_that_was_recorded() -> None:
    found = resolved("code@latest", source={"asset": "code", "version": "1"})
    assert isinstance(found, Resolved)
    assert found.source
    assert found.source.path == "code/1.zip"
    assert found.assets == {"source": {"asset": "code", "version": "1", "assetUid": "uid-1"}}


@pytest.mark.parametrize(("uri", "names"), [("code@latest", {"code"}), ("lake/paths/x", set()), ("https://h/x", set())])
def test_a_run_looks_at_the_versions_of_its_code(uri: str, names: set[str]) -> None:
    assert named_assets(run(), function(source={"zip": {"uri": uri}})) == names
