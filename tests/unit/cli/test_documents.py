"""Manifests are read as kubectl reads them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from millrace.cli.documents import in_namespace, read_documents, split, write_documents
from millrace.cli.errors import Refused


def manifest(spec: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nspec: {{value: {spec}}}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
        ("1:30", "1:30"),
        ("22:22:22", "22:22:22"),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-7", -7),
        ("0x1f", 31),
        ("0644", 420),
        ("1_000", 1000),
        ("089", 89.0),
        ("1.2.3", "1.2.3"),
        ("on", True),
        ("No", False),
        ("y", True),
        ("'y'", "y"),
        ("nobody", "nobody"),
        ("~", None),
        ("null", None),
        ("-", "-"),
        ("3.13", 3.13),
        ('"3.13"', "3.13"),
    ],
)
def test_a_scalar_means_what_it_means_to_kubectl(text: str, value: Any) -> None:
    (found,) = read_documents(manifest(text), "f.yaml")
    assert found["spec"]["value"] == value
    assert type(found["spec"]["value"]) is type(value)


def test_documents_and_lists_are_unpacked_and_empty_ones_left_out() -> None:
    text = """
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: a}}
- {apiVersion: v1, kind: Secret, metadata: {name: b}}
---
---
{"apiVersion": "millrace.dev/v1alpha1", "kind": "JobRun", "metadata": {"generateName": "x-"}}
"""
    assert [found["kind"] for found in read_documents(text, "f")] == ["Secret", "Secret", "JobRun"]


def test_anchors_and_merge_keys_work() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\none: &one {a: 1, b: 2}\ntwo:\n  <<: *one\n  b: 3\n"
    assert read_documents(text, "f")[0]["two"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f: no object in it"),
        ("---\n---\n", "f: no object in it"),
        ("just text", "f, document 1: an object is expected"),
        ("kind: A\n", "f, document 1: apiVersion is missing"),
        ("apiVersion: v1\nkind: Secret\n", "f, document 1 (Secret): metadata.name is missing"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {generateName: x}\n", "metadata.name is missing"),
        ("a: [1\nb: 2\n", "f, line 2, column"),
        ("apiVersion: v1\napiVersion: v2\n", "f, line 2, column 1: the key 'apiVersion' is there twice"),
        ("apiVersion: v1\nn: 3\n", 'f, line 2, column 1: the key n means true or false in YAML; write it in quotes: "n"'),
        ("? [a]\n: 1\n", "f, line 1, column 3: a key that is no text"),
        ("[" * 5000, "f: too many lists and objects in each other"),
        (manifest(".nan"), "JSON has no .nan"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        read_documents(text, "f")
    assert message in refused.value.message


def test_namespaces_come_first_and_runs_last() -> None:
    kinds = [("v1", "Secret"), ("millrace.dev/v1alpha1", "JobRun"), ("v1", "Namespace"), ("other/v1", "JobRun")]
    manifests = [{"apiVersion": version, "kind": kind, "metadata": {"name": "a"}} for version, kind in kinds]
    namespaces, others, runs = split(manifests)
    assert (namespaces, others, runs) == ([manifests[2]], [manifests[0], manifests[3]], [manifests[1]])


@pytest.mark.parametrize(
    ("own", "asked", "expected"), [(None, None, "default"), (None, "b", "default"), ("a", None, "a"), ("a", "a", "a")]
)
def test_the_namespace_is_the_objects_own_before_the_default(own: str | None, asked: str | None, expected: str) -> None:
    meta = {"name": "x"} | ({"namespace": own} if own else {})
    assert in_namespace({"kind": "A", "metadata": meta}, "default", asked)["metadata"]["namespace"] == expected


def test_two_namespaces_are_refused() -> None:
    with pytest.raises(Refused, match="-n says b"):
        in_namespace({"kind": "A", "metadata": {"name": "x", "namespace": "a"}}, "b", "b")


@pytest.mark.parametrize(
    "source",
    [
        "import os\nprint('ü 😀')\n",
        "a = 1\n\n\nb = '  '\n",
        "x = 'tail'   \ny = 1\n",
        "no newline",
        "\x85",
        "a\x85\nb\u2028",
        "\r\n",
    ],
)
def test_what_is_written_is_read_back_the_same(source: str) -> None:
    manifests = [
        {"apiVersion": "v1", "kind": "A", "metadata": {"name": "x"}, "spec": {"inline": source, "v": "3.10", "y": "y"}}
    ]
    text = write_documents(manifests)
    assert read_documents(text, "f") == manifests
    assert list(yaml.safe_load_all(text)) == manifests
