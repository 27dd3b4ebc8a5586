"""The generated CustomResourceDefinitions, as the API server sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.apiserver import ROOT, ApiServer, Object

KINDS = ("dataassets", "datastores", "deployments", "functions", "jobruns")
LIMIT = 200 * 1024  # client-side apply keeps the whole object in an annotation, which may have 256 KiB


def crd_file(plural: str) -> Path:
    return ROOT / "crds" / f"{plural}.yaml"


@pytest.fixture(params=KINDS)
def definition(request: pytest.FixtureRequest, api: ApiServer) -> Object:
    return api.admin.get("customresourcedefinitions", None, f"{request.param}.millrace.dev")


def conditions(definition: Object) -> dict[str, str]:
    return {found["type"]: found["status"] for found in definition["status"]["conditions"]}


def test_is_accepted_and_structural(definition: Object) -> None:
    found = conditions(definition)
    assert found["Established"] == found["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in found, definition["status"]["conditions"]
    assert definition["spec"].get("preserveUnknownFields", False) is False


@pytest.mark.parametrize("plural", KINDS)
def test_is_small(plural: str) -> None:
    assert crd_file(plural).stat().st_size < LIMIT


@pytest.mark.parametrize("plural", KINDS)
def test_client_side_apply_takes_it(api: ApiServer, plural: str) -> None:
    done = api.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(crd_file(plural)))
    assert done.returncode == 0, done.stderr


def test_names(api: ApiServer) -> None:
    text = api.kubectl("api-resources", "--api-group=millrace.dev", "--no-headers", "-o", "wide").stdout
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    short = {"dataassets": "dasset", "datastores": "dstore", "deployments": "mdep", "functions": "fn", "jobruns": "jr"}
    assert {plural: row[1] for plural, row in rows.items()} == short
    assert all(row[2:4] == ["millrace.dev/v1alpha1", "true"] for row in rows.values())
    assert all(row[-1] == "millrace" for row in rows.values()), "category"


def parts(schema: Object, path: str) -> Iterator[tuple[str, Object]]:
    """Every schema below this one, with its path."""
    yield path, schema
    for name, found in schema.get("properties", {}).items():
        yield from parts(found, f"{path}.{name}")
    if "items" in schema:
        yield from parts(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from parts(schema["additionalProperties"], f"{path}{{}}")


def spec_parts(definition: Object) -> list[tuple[str, Object]]:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return list(parts(schema["properties"]["spec"], "spec"))


def test_everything_in_a_spec_has_a_limit(definition: Object) -> None:
    unlimited = [
        path
        for path, schema in spec_parts(definition)
        if (schema.get("type") == "array" and "maxItems" not in schema)
        or (schema.get("type") == "string" and not {"maxLength", "enum"} & schema.keys())
        or ("additionalProperties" in schema and "maxProperties" not in schema)
    ]
    assert unlimited == []


def test_nothing_has_a_default(definition: Object) -> None:
    """A default would be written into specs, and GitOps tools would see a difference."""
    assert [path for path, schema in spec_parts(definition) if "default" in schema] == []


def test_objects_without_a_schema_are_atomic(definition: Object) -> None:
    """Else managedFields has their fields some levels deeper, and the API server stores what it cannot read again."""

    def free(schema: Object, path: str) -> Iterator[str]:
        if schema.get("x-kubernetes-preserve-unknown-fields") and "type" in schema:
            atomic = schema.get("x-kubernetes-map-type") == "atomic" or path.endswith("[]")  # lists are, as they are
            yield from () if atomic else (path,)
        for name, child in schema.get("properties", {}).items():
            yield from free(child, f"{path}.{name}")
        if items := schema.get("items"):
            yield from free(items, f"{path}[]")

    [version] = definition["spec"]["versions"]
    assert list(free(version["schema"]["openAPIV3Schema"], "")) == []
