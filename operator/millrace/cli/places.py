"""Places on this machine that the options of a local run name, as stores that are folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.cli.arguments import PLACE
from millrace.cli.documents import Object, is_run
from millrace.cli.errors import Refused

if TYPE_CHECKING:
    from millrace.cli.upload import Local

SOURCE_STORE = "local-source"
_STORE = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
# What is no path of this machine: a place in a store, an address, a data asset with its version.
ELSEWHERE = re.compile(r"[a-z0-9][-.a-z0-9]*/paths/.+|[a-z0-9]+://.*|/subscriptions/.+|(azureml:/?)?[^/\\]+[@:][^/\\]+")


class Places:
    """The folders by the name of their store. Raises Refused."""

    def __init__(self, stores: list[str]) -> None:
        """`stores` are the values of --store."""
        self.folders: dict[str, Path] = {}
        self._has_default = bool(stores)
        for text in stores:
            name, found, value = text.partition("=")
            if not found or not value or not _STORE.fullmatch(name):
                raise Refused(f"--store {text}: NAME=DIR is expected")
            if "://" in value:
                hint = "write a DataStore for it, and its Secret, into the file with the JobRun"
                raise Refused(f"--store {text}: a folder of this machine is expected", hint)
            path = Path(value).expanduser().absolute()
            if not path.is_dir():
                raise Refused(f"--store {text}: {path} {'is not a folder' if path.exists() else 'does not exist'}")
            self.folders[name] = path

    def check_local(self, options: list[str]) -> None:
        """Refuses options that have no sense without a cluster."""
        if options:
            raise Refused(f"{', '.join(options)}: not with --local")

    def check_cluster(self) -> None:
        """Refuses folders where the run is a cluster's."""
        if self.folders:
            raise Refused("--store: with --local only; in a cluster the DataStores are its own")

    def inputs(self, texts: list[str]) -> list[str]:
        """The values of --input, with those that name a file or folder of this machine turned into places of a store."""
        return [self._input(text) for text in texts]

    def outputs(self, texts: list[str]) -> list[str]:
        """The values of --output, likewise."""
        return [self._output(text) for text in texts]

    def without_archive(self, manifests: list[Object]) -> list[Object]:
        """The manifests of a script for which no store was named: its log is on the screen, not beside its outputs."""
        return [{**m, "spec": {**m["spec"], "logs": "None"}} if is_run(m) else m for m in manifests]

    def source(self, local: Local) -> str:
        """The reference of an archive of code on this machine."""
        archive = local.content.path
        self.folders[SOURCE_STORE] = archive.parent
        return f"{SOURCE_STORE}/paths/{archive.name}"

    def _input(self, text: str) -> str:
        left, found, value = text.partition("=")
        if not found or not value or (ELSEWHERE.fullmatch(value) and not Path(value).exists()):
            return text
        path = Path(value).expanduser().resolve()
        name, typed, _ = left.partition(":")
        if not path.exists():
            raise Refused(f"--input {text}: {path} does not exist", f"a file or folder of this machine, or {PLACE}")
        kind = ":uri_file" if path.is_file() and not typed else ""
        return f"{left}{kind}={self._store(f'input-{name}', path, text)}"

    def _output(self, text: str) -> str:
        name, found, value = text.partition("=")
        if not found and not self._has_default:
            hint = f"--output {name}=./results, or --store NAME=DIR as the default store"
            raise Refused(f"--output {text}: there is no default store here for it to go to", hint)
        if not value or ELSEWHERE.fullmatch(value):
            return text
        return f"{name}={self._store(f'output-{name}', Path(value).expanduser().resolve(), text)}"

    def _store(self, name: str, path: Path, text: str) -> str:
        if not path.name:
            raise Refused(f"{text}: a folder below / is expected")
        self.folders[name] = path.parent
        return f"{name}/paths/{path.name}"
