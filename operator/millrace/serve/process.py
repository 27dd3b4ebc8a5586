"""Process 1 of a service's pod, from its first line to its exit code."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvloop

from millrace import protocol
from millrace.inpod.runtime import child
from millrace.inpod.runtime import plan as plans
from millrace.inpod.runtime.environment import module_folders, user_environment
from millrace.inpod.runtime.errors import RuntimeFault
from millrace.inpod.runtime.files import read_file
from millrace.inpod.runtime.paths import here, termination_log
from millrace.inpod.runtime.record import write_termination
from millrace.inpod.runtime.verdict import Verdict, last_error
from millrace.serve.access import Access
from millrace.serve.application import Application
from millrace.serve.gate import Gate
from millrace.serve.handler import Handler
from millrace.serve.isolate import forget
from millrace.serve.metrics import Metrics
from millrace.serve.openapi import describe
from millrace.serve.plan import ServePlan
from millrace.serve.server import Operations, Server, bind, serve_beside
from millrace.serve.threads import Threads

# How many calls go on at a time where concurrencyLimit does not say: coroutines cost little, threads some.
COROUTINES, THREADS = 1000, 64
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class InitFailed(Exception):
    """User code raised before it could answer; the traceback is the message's log."""

    def __init__(self, error: BaseException) -> None:
        trace = error.__traceback__
        while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        self.log = "".join(traceback.format_exception(type(error), error, trace))
        super().__init__(last_error(self.log))


def _is_ours(file: str) -> bool:
    return file.startswith(_OWN) or "importlib" in file


_OWN = (os.path.dirname(os.path.abspath(__file__)), os.path.abspath(child.__file__))


def main(folder: str) -> int:
    """Serve as the plan says until SIGTERM; the exit code. folder: where the runtime and what it imports lies."""
    for number in STOP_SIGNALS:
        signal.signal(number, _stop_at_once)  # process 1 gets no signal that it has no handler for
    last_words = termination_log(protocol.MAIN)  # while the environment is still the container's
    try:
        return _serve(folder)
    except InitFailed as error:
        verdict, log = Verdict(1, protocol.REASON_INIT_FAILED, str(error)), error.log
    except child.Refused as error:
        verdict, log = Verdict(error.exit_code, protocol.REASONS[error.exit_code], str(error)), ""
    except (RuntimeFault, OSError) as error:
        code = protocol.EXIT_RUNTIME_ERROR
        verdict, log = Verdict(code, protocol.REASONS[code], str(error)), ""
    print(f"{log}[millrace] {verdict.reason}: {verdict.message}", file=sys.stderr, flush=True)
    write_termination(verdict, log, last_words)
    return verdict.exit_code


def _stop_at_once(number: int, _frame: FrameType | None) -> None:
    """Before the first request there is nothing to wait for."""
    print(f"[millrace] stopped by {signal.Signals(number).name} before it was ready", file=sys.stderr, flush=True)
    os._exit(protocol.EXIT_TERMINATED)


def _plan() -> ServePlan:
    path = here(protocol.PLAN_FILE)
    try:
        document = json.loads(read_file(path, plans.PLAN_LIMIT))
    except (OSError, ValueError) as error:
        raise RuntimeFault(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise RuntimeFault(f"{path} is no JSON object")
    return ServePlan(document)


def _serve(folder: str) -> int:
    plan = _plan()
    doors = [(Server(), bind(plan.host, port)) for port in (plan.port, plan.operations_port)]
    access = None if plan.public else Access(here(protocol.ACCESS_FILE))
    init_arguments = {"parameters": plans.parameters(plan, os.environ), "inputs": plans.arguments(plan)}
    forget(folder)
    _become_users(plan)
    handler = Handler(_user(child.find, plan.handler, plan.source), str(plan.handler))
    made = None
    if plan.init:
        init = _user(child.find, plan.init, plan.source)
        positional, named = child.bind(init, plan.init, **init_arguments)
        made = _user(init, *positional, **named)
    serving = partial(_run, plan, handler, made, access, doors)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serving())


def _become_users(plan: ServePlan) -> None:
    """Environment, module path and working directory as user code expects them."""
    env = user_environment(plan, dict(os.environ))
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = module_folders(plan)
    if plan.source and os.path.isdir(plan.source):
        os.chdir(plan.source)


def _user(function: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Call user code that must not fail. Raises InitFailed, Refused."""
    try:
        return function(*positional, **named)
    except child.Refused:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too: a service does not end by itself
        raise InitFailed(error) from None


async def _run(
    plan: ServePlan, handler: Handler, made: Any, access: Access | None, doors: list[tuple[Server, socket.socket]]
) -> int:
    """Listen until SIGTERM, then answer what has come."""
    if hasattr(made, "__await__"):
        try:
            made = await made
        except BaseException as error:  # noqa: BLE001
            raise InitFailed(error) from None
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stopped.set)
    gate = Gate(plan.concurrency_limit or (COROUTINES if handler.inline else THREADS))
    metrics = Metrics()
    application = Application(
        handler,
        gate=gate,
        threads=Threads(loop, gate.limit),
        metrics=metrics,
        access=access,
        service=plan.service,
        openapi=describe(handler, plan.service, public=plan.public),
        state=made,
        timeout=plan.timeout,
    )
    gc.collect()
    gc.freeze()  # what is there now stays: a collection need not look at it again
    (server, bound), beside = doors
    ports = [door.getsockname()[1] for _, door in doors]
    await server.listen(application, bound)
    serve_beside(*beside, Operations(metrics, gate, application))
    dates = loop.create_task(server.main_loop())
    print(f"[millrace] {plan.handler} is ready on port {ports[0]}, operations on {ports[1]}", file=sys.stderr, flush=True)
    await stopped.wait()
    application.draining = True
    ended = await server.drain(plan.drain, plan.stop)
    dates.cancel()
    if not ended:
        print(f"[millrace] {gate.inside} requests were cut off after {plan.stop:g} s", file=sys.stderr, flush=True)
    return 0 if ended else protocol.EXIT_TERMINATED
