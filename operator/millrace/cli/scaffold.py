"""Manifests for a user who has a script and nothing else: pure."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from millrace.cli.errors import Refused
from millrace.cli.names import similar
from millrace.domain.names import dns_name
from millrace.protocol import BATCH_INPUT_DIR, BATCH_OUTPUT_DIR

API_VERSION = "millrace.dev/v1alpha1"
INLINE_BYTES = 128 * 1024
ENTRY = "main.py"  # what an inline source is called in the pod

Object = dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """A folder of code, in which the file of a script is: the zip of it, and how that is called."""

    zip: Object
    entry: Object


@dataclass(frozen=True)
class Script:
    """A script, and what is to be done with it."""

    file: str  # its name without folders
    source: str
    name: str | None = None
    handler: str | None = None
    python: str | None = None
    requirements: list[str] = field(default_factory=list)
    parameters: Object = field(default_factory=dict)
    inputs: list[Object] = field(default_factory=list)
    outputs: list[Object] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    folder: Folder | None = None


def manifests(script: Script, namespace: str | None = None) -> list[Object]:
    """Function and JobRun. The run's name has a hash of all that decides its result: equal calls make equal manifests."""
    name = script.name or dns_name(script.file.removesuffix(".py"))
    if not name:
        raise Refused(f"{script.file}: no name can be made of it", "give one with --name")
    spec = _function(script)
    run_spec: Object = {"functionRef": {"name": name}}
    if script.parameters:
        run_spec["parameters"] = script.parameters
    if script.inputs:
        run_spec["inputs"] = script.inputs
    if script.outputs:
        run_spec["outputs"] = script.outputs
    if script.environment:
        run_spec["environmentVariables"] = script.environment
    digest = hashlib.sha256(json.dumps([spec, run_spec], sort_keys=True).encode()).hexdigest()[:6]
    place = {"namespace": namespace} if namespace else {}
    return [
        {"apiVersion": API_VERSION, "kind": "Function", "metadata": {"name": name, **place}, "spec": spec},
        {"apiVersion": API_VERSION, "kind": "JobRun", "metadata": {"name": f"{name}-{digest}", **place}, "spec": run_spec},
    ]


def _function(script: Script) -> Object:
    if script.folder:
        spec = {"source": {"zip": script.folder.zip}, **script.folder.entry}
    else:
        entry = {"handler": f"main:{script.handler}"} if script.handler else {"script": ENTRY}
        spec = {"source": {"inline": _inline(script)}, **entry}
    if script.python:
        spec["pythonVersion"] = script.python
    if script.requirements:
        spec["requirements"] = script.requirements
    return spec


def _inline(script: Script) -> str:
    source = script.source.removeprefix("\ufeff").replace("\r\n", "\n")
    size = len(source.encode())
    if size > INLINE_BYTES:
        raise Refused(
            f"{script.file} has {size} bytes; a script in a manifest may have {INLINE_BYTES}",
            "keep data and generated code out of it (data is an input, code of others a requirement), or run its folder",
        )
    if not source.strip():
        raise Refused(f"{script.file} is empty")
    return source


def check(script: Script, siblings: Iterable[str] = ()) -> list[str]:
    """Warnings about a script: what will fail in the cluster and can be seen here. Refused: a handler that is not there.

    `siblings` are the modules that lie next to it.
    """
    if script.parameters and not script.handler:
        raise Refused(
            "--param: parameters are the keyword arguments of a function, and a plain script has none",
            f"run a function of {script.file} with --handler FUNCTION, or hand the values over with --env NAME=VALUE",
        )
    try:
        tree = ast.parse(script.source.removeprefix("\ufeff"))
    except SyntaxError as error:
        return [f"{script.file}, line {error.lineno}: {error.msg} (as this machine's Python reads it)"]
    names = _top_level(tree)
    if script.handler and script.handler not in names and not _imports_star(tree):
        callables = sorted(name for name, is_def in names.items() if is_def)
        meant = similar(script.handler, callables)
        raise Refused(
            f"{script.file} has no function {script.handler}; it has {', '.join(callables) or 'none'}",
            *([f"did you mean --handler {meant}?"] if meant else []),
        )
    local = sorted(_imported(tree) & (set(siblings) - {script.file.removesuffix(".py")}))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    needed = {"--input": (BATCH_INPUT_DIR, script.inputs), "--output": (BATCH_OUTPUT_DIR, script.outputs)}
    return [
        *(
            f"{script.file} imports {name}, which lies next to it: only the script itself is sent: run the folder"
            for name in local
        ),
        *(
            f"{script.file} reads {variable}, which is there with {option} only"
            for option, (variable, given) in needed.items()
            if variable in texts and not given
        ),
    ]


def _top_level(tree: ast.Module) -> dict[str, bool]:
    """Names that the module may have, and whether each is a function or a class."""
    definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    found: dict[str, bool] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name): False for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, False)
    for parent in tree.body:
        nodes = ast.walk(parent) if isinstance(parent, ast.If | ast.Try) else (parent,)
        found |= {node.name: True for node in nodes if isinstance(node, definition)}
    return found


def _imports_star(tree: ast.Module) -> bool:
    return any(alias.name == "*" for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found
