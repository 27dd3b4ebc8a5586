"""Manifests from what the command line names: files, stdin, a script, a folder, a Deployment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.cli import arguments, deployments
from millrace.cli.documents import Object, read_documents
from millrace.cli.errors import Refused
from millrace.cli.scaffold import Folder, Script, check, manifests
from millrace.domain.names import dns_name

if TYPE_CHECKING:
    from millrace.cli.upload import Local


@dataclass(frozen=True)
class ScriptOptions:
    """Options of `millrace run SCRIPT`, as they were typed."""

    inputs: list[str] | None
    outputs: list[str] | None
    parameters: list[str] | None
    variables: list[str] | None
    requirements: Path | None
    python: str | None
    handler: str | None
    name: str | None
    script: str | None = None

    def refuse_with_file(self, output_format: str | None) -> None:
        """Refuses options of a script where manifests are given."""
        given = {
            "--input": self.inputs,
            "--output": self.outputs,
            "--param": self.parameters,
            "--env": self.variables,
            "--requirements": self.requirements,
            "--python": self.python,
            "--handler": self.handler,
            "--name": self.name,
            "--script": self.script,
            "-o": output_format,
        }
        used = [option for option, value in given.items() if value]
        if used:
            raise Refused(f"{', '.join(used)}: for a script only; with -f the manifests say it")


def manifests_of(
    script: Path | None,
    files: list[str] | None,
    deployment: str | None,
    given: ScriptOptions,
    namespace: str | None,
    placed: Callable[[Local], str],
    *,
    local: bool,
    output_format: str | None,
) -> tuple[list[Object], str, list[str]]:
    """What is to be run, what to call it, and warnings. `placed` takes a folder's zip. Raises Refused."""
    if sum(map(bool, (script, files, deployment))) != 1:
        raise Refused("one of SCRIPT, -f FILE and --deployment NAME is needed, and only one", "millrace run --help")
    if deployment:
        return deployments.manifests(deployment, given, local=local)
    if script is None:
        given.refuse_with_file(output_format)
        return *from_files(files or []), []
    if script.is_dir():
        return from_folder(script, given, namespace, placed)
    return from_script(script, given, namespace)


def from_files(names: list[str]) -> tuple[list[Object], str]:
    """The objects of all files, and what to call them."""
    found = []
    for name in names:
        found += read_documents(read_text(name, "-f -: manifests are expected on stdin"), "stdin" if name == "-" else name)
    return found, ", ".join("stdin" if name == "-" else name for name in names)


def read_text(name: str, on_terminal: str, limit: int | None = None) -> str:
    """The text of a file, or of stdin for "-"; of one that is longer than `limit` bytes not much more than these."""
    count = -1 if limit is None else limit + 1
    if name == "-":
        if sys.stdin.isatty():
            raise Refused(on_terminal)
        return _decoded("stdin", sys.stdin.buffer.read(count))
    return _read(Path(name), count)


def _decoded(source: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{source}: not UTF-8: {error.reason} at byte {error.start}") from None


def _read(path: Path, count: int = -1) -> str:
    try:
        with path.open("rb") as file:
            return _decoded(str(path), file.read(count))
    except IsADirectoryError:
        raise Refused(f"{path} is a folder; a file is expected") from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


def from_script(path: Path, options: ScriptOptions, namespace: str | None) -> tuple[list[Object], str, list[str]]:
    """Manifests for a script, what to call them, and warnings."""
    if path.suffix in {".yaml", ".yml", ".json"}:
        raise Refused(f"{path} is a manifest, not a script", f"millrace run -f {path}")
    if options.script:
        raise Refused(f"--script {options.script}: for a folder only, and {path} is a file")
    handler = options.handler.removeprefix("main:") if options.handler else None
    script = _script(options, path, _read(path), options.requirements, handler)
    siblings = [found.stem for found in path.parent.glob("*.py")] + [
        f.parent.name for f in path.parent.glob("*/__init__.py")
    ]
    warnings = check(script, siblings)
    return manifests(script, namespace), str(path), warnings


def from_folder(
    path: Path, options: ScriptOptions, namespace: str | None, placed: Callable[[Local], str]
) -> tuple[list[Object], str, list[str]]:
    """Manifests for a folder of code, likewise; `placed` takes its zip and returns the reference that it has."""
    from millrace.cli.folder import REQUIREMENTS, entry_of, packed

    if options.handler and options.script:
        raise Refused(f"--script {options.script}: not with --handler")
    code = entry_of(path, options.handler, options.script)
    name = options.name or dns_name(path.resolve().name)
    listed = options.requirements or path / REQUIREMENTS
    file = path / code.file
    script = _script(options, file, _read(file), listed if listed.is_file() else options.requirements, code.function)
    warnings = check(script)
    local, left_out = packed(path, name)
    archive = {"uri": placed(local), "sha256": local.content.sha256}
    script = replace(script, file=path.resolve().name, folder=Folder(archive, code.entry))
    return manifests(script, namespace), str(path), warnings + left_out


def _script(options: ScriptOptions, path: Path, source: str, listed: Path | None, handler: str | None) -> Script:
    if options.name is not None and dns_name(options.name) != options.name:
        raise Refused(
            f"--name {options.name}: lower-case letters, digits and dashes only", f"--name {dns_name(options.name)}"
        )
    return Script(
        file=path.name,
        source=source,
        name=options.name,
        handler=handler,
        python=options.python,
        requirements=arguments.requirements(_read(listed), str(listed))
        if listed
        else arguments.script_metadata(source, path.name),
        parameters=dict(map(arguments.parameter, options.parameters or [])),
        inputs=arguments.unique("--input", [arguments.input_entry(text) for text in options.inputs or []]),
        outputs=arguments.unique("--output", [arguments.output_entry(text) for text in options.outputs or []]),
        environment=dict(map(arguments.variable, options.variables or [])),
    )
