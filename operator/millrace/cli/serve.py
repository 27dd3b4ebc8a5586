"""`millrace serve --local`: a Function of a file answers HTTP on this machine."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from millrace.api.base import API_VERSION
from millrace.api.jobrun import JobRun
from millrace.cli.arguments import parameter
from millrace.cli.documents import Object, in_namespace
from millrace.cli.errors import FAILED, OK, Refused
from millrace.cli.local import NAMESPACE, SIGNALS, Unheard
from millrace.cli.progress import Line
from millrace.cli.screen import Screen
from millrace.cli.sources import from_files
from millrace.local.catalog import Catalog, Invalid, read_catalog
from millrace.local.serve import LocalService, NotServed


@dataclass(frozen=True)
class Wanted:
    """The Function, what init gets, and where."""

    catalog: Catalog
    function: str
    parameters: dict[str, Any]
    port: int


def wanted(
    files: list[str], name: str | None, namespace: str | None, parameters: list[str], port: int, *, local: bool
) -> Wanted:
    """Raises Refused."""
    if not local:
        raise Refused("serve is for this machine only: --local is needed")
    if not files:
        raise Refused("-f FILE with a Function is needed", "millrace serve --help")
    manifests, source = from_files(files)
    functions = [each["metadata"]["name"] for each in manifests if _is_function(each)]
    if name is None and len(functions) == 1:
        name = functions[0]
    if name is None or name not in functions:
        has = f"it has {', '.join(functions)}; say which by --function NAME" if functions else "it has none"
        raise Refused(f"{source}: {f'no Function {name}' if name else 'not one Function'} in it: {has}")
    placed = [in_namespace(each, namespace or NAMESPACE, namespace) for each in manifests if each["kind"] != "JobRun"]
    # What stages code is a run's; this one has nothing but the code.
    run = {"apiVersion": API_VERSION, "kind": "JobRun", "metadata": {"name": name}, "spec": {"functionRef": {"name": name}}}
    placed.append(in_namespace(run, namespace or NAMESPACE, namespace))
    try:
        catalog = read_catalog(placed, {}, now=datetime.now(UTC), new_id=lambda: str(uuid.uuid4()))
    except Invalid as error:
        raise Refused(f"{source}: {error}") from None
    return Wanted(catalog, name, dict(map(parameter, parameters)), port)


def _is_function(manifest: Object) -> bool:
    return bool(manifest["kind"] == "Function" and manifest["apiVersion"] == API_VERSION)


def serve_here(wanted: Wanted) -> int:
    """Serve until Ctrl-C; the exit code."""
    screen = Screen()
    try:
        asyncio.run(_serve(wanted, screen))
    except NotServed as error:
        screen.refuse(Refused(str(error)))
        return FAILED
    return OK


async def _serve(wanted: Wanted, screen: Screen) -> None:
    service = LocalService(_of(wanted), wanted.catalog, Told(screen))
    loop = asyncio.get_running_loop()
    stops = 0

    def stop() -> None:
        nonlocal stops
        stops += 1
        service.cancel("it was stopped") if stops == 1 else service.kill()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    await service.serve(wanted.parameters, wanted.port)


def _of(wanted: Wanted) -> JobRun:
    return wanted.catalog.runs[0]


class Told(Unheard):
    """A listener that shows what user code and the runtime say."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def log(self, line: bytes) -> None:
        """See Listener."""
        self._screen.log(line)

    def warn(self, text: str) -> None:
        """See Listener."""
        self._screen.say([Line(f"warning: {text}", "warn")])
