"""Manifests from YAML text, read as kubectl reads it: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from millrace.cli.errors import Refused

Object = dict[str, Any]


class Loader(yaml.SafeLoader):
    """PyYAML takes 2026-01-31 for a date, 1:30 for ninety and 1e3 for text; kubectl does not. Keys must be unique."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] in {"null", "merge", "value"}]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key, tag = key_node.value, key_node.tag.rpartition(":")[2]
            problem = None
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a key that is no text"
            elif key in seen and tag != "merge":
                problem = f"the key {key!r} is there twice"
            elif tag == "bool":  # for kubectl too: parameters: {n: 3} has a parameter `false`
                problem = f'the key {key} means true or false in YAML; write it in quotes: "{key}"'
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        found = super().construct_mapping(node, deep=deep)
        return {key if isinstance(key, str) else str(key): value for key, value in found.items()}


def _boolean(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return node.value.lower() in {"y", "yes", "true", "on"}


def _integer(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = node.value.replace("_", "")
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)


def _number(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    found = float(node.value.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if found in {float("inf"), float("-inf")} or found != found:  # noqa: PLR0124 - not a number
        raise yaml.constructor.ConstructorError(None, None, f"JSON has no {node.value}", node.start_mark)
    return found


_WORDS: list[re.Pattern[str]] = []  # that mean something else than text
for _tag, _pattern, _first, _make in (
    (
        "bool",
        r"y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON|n|N|no|No|NO|false|False|FALSE|off|Off|OFF",
        "yYtToOnNfF",
        _boolean,
    ),
    ("int", r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)", "-+0123456789", _integer),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _number,
    ),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), list(_first))
    _WORDS.append(re.compile(_pattern))
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _make)


def read_documents(text: str, source: str) -> list[Object]:
    """The objects of a file, Lists unpacked. Refused with file, line and reason where it is no manifest."""
    raw = load(text, source, Loader)
    found = [checked for number, document in enumerate(raw, start=1) for checked in _objects(document, source, number)]
    if not found:
        raise Refused(f"{source}: no object in it")
    return found


def load(text: str, source: str, loader: type[Loader]) -> list[Any]:
    """The documents of a text. Refused with file, line and reason where it is no YAML."""
    try:
        return list(yaml.load_all(text, loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise Refused(f"{where}: {error.problem or 'not YAML'}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise Refused(f"{source}: not YAML: {error}") from None
    except RecursionError:
        raise Refused(f"{source}: too many lists and objects in each other") from None


def _objects(document: Any, source: str, number: int) -> Iterator[Object]:
    where = f"{source}, document {number}"
    if document is None:
        return
    if not isinstance(document, dict):
        raise Refused(f"{where}: an object is expected, with apiVersion, kind, metadata and spec")
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(item, source, number)
        return
    for key in ("apiVersion", "kind"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise Refused(f"{where}: {key} is missing")
    meta = document.get("metadata")
    named = isinstance(meta, dict) and (meta.get("name") or (document["kind"] == "JobRun" and meta.get("generateName")))
    if not named:
        raise Refused(f"{where} ({document['kind']}): metadata.name is missing")
    yield document


def name_of(manifest: Object) -> str:
    """KIND NAME, for messages."""
    meta = manifest["metadata"]
    return f"{manifest['kind']} {meta.get('name') or meta['generateName'] + '…'}"


def is_run(manifest: Object) -> bool:
    """Whether it is one of our JobRuns."""
    return bool(manifest["kind"] == "JobRun" and manifest["apiVersion"].startswith("millrace.dev/"))


def split(manifests: list[Object]) -> tuple[list[Object], list[Object], list[Object]]:
    """Namespaces, which come first; what else is applied, in the file's order; JobRuns, which come last."""
    namespaces = [m for m in manifests if m["kind"] == "Namespace" and m["apiVersion"] == "v1"]
    runs = [m for m in manifests if is_run(m)]
    taken = {id(m) for m in (*namespaces, *runs)}
    return namespaces, [m for m in manifests if id(m) not in taken], runs


def in_namespace(manifest: Object, default: str, asked: str | None) -> Object:
    """The manifest with a namespace: its own, else the default. Refused where it contradicts the one asked for with -n."""
    own = manifest["metadata"].get("namespace")
    if own and asked and own != asked:
        raise Refused(f"{name_of(manifest)}: metadata.namespace is {own}, but -n says {asked}", "leave one of the two away")
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": own or default}}


class _Dumper(yaml.SafeDumper):
    """Block style for texts of several lines, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if any(word.fullmatch(text) for word in _WORDS) else "|" if "\n" in text else None
    if re.search("[\x85\u2028\u2029]", text):  # line breaks in YAML, which would come back as others
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def write_documents(manifests: list[Object]) -> str:
    """YAML of the objects."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000, explicit_start=True)
