"""The operator's process: reads its settings, loads the state, watches, works."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import kopf
import structlog
import yaml

from millrace.domain.settings import Settings
from millrace.handlers import watch
from millrace.kube import deep_json
from millrace.kube.api import Api, ApiError, connect
from millrace.kube.resources import WATCHED
from millrace.runtime import health
from millrace.runtime.controller import Controller
from millrace.runtime.lease import Lease
from millrace.runtime.sweep import sweep_for_ever

log = structlog.get_logger()

PORT = 8080
LOAD_PAUSE = 1  # seconds between two tries to read the state at the start

END_SECONDS = 4  # a supervisor that sends SIGTERM waits for 30

T = TypeVar("T")


def configure_logs(level: str) -> None:
    """JSON lines on stderr, for our loggers and for kopf's."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [structlog.stdlib.add_log_level, stamp]
    renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


async def _allowed(api: Api, namespaces: list[str]) -> list[str]:
    """The namespaces that we may watch; kopf would end the process for one whose Role is missing."""
    found = []
    for namespace in namespaces:
        denied = [r.plural for r in WATCHED if not await api.may_watch(r, namespace)]
        if denied:
            log.error("namespace left out: no right to watch", namespace=namespace, resources=denied)
        else:
            found.append(namespace)
    return found


async def _persistently(read: Callable[[], Awaitable[T]]) -> T:
    """Reads until the API server answers: it may be away when we start, which is no reason to end."""
    while True:
        try:
            return await read()
        except ApiError as error:
            pause = max(LOAD_PAUSE, error.retry_after)
            log.warning("cannot read the state; trying again", error=str(error), seconds=pause)
            await asyncio.sleep(pause)


def _on_signals(act: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act)


def _end_soon(code: int) -> None:
    """From now on the process has a few seconds for an orderly end; then it ends anyway, rather than live on blind."""
    timer = threading.Timer(END_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


async def _watch(
    controller: Controller, namespaces: list[str], away: Callable[[], bool], on_signal: Callable[[], object]
) -> None:
    """kopf as a part of this process. It takes the signals for itself, so they are taken back.

    Its own end is not waited for: where a watch fails while another starts, it waits for a login for ever.
    """
    tasks = await kopf.spawn_tasks(
        registry=watch.registry(controller),
        settings=watch.settings(away),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
    )
    _on_signals(on_signal)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=END_SECONDS / 2)


async def _lead(lease: Lease, controller: Controller) -> None:
    """Works whenever the lease is ours, for ever; gives it back at the end."""
    try:
        while True:
            await lease.acquire()
            term = asyncio.create_task(controller.run()), asyncio.create_task(lease.keep())
            try:
                done, _ = await asyncio.wait(term, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in term:
                    task.cancel()
                await asyncio.gather(*term, return_exceptions=True)
            for task in done:
                task.result()
    finally:
        await lease.release()


async def operate(settings: Settings) -> None:
    """Runs the operator until a part of it fails, or a signal cancels it."""
    async with contextlib.AsyncExitStack() as stack:
        await _operate(settings, stack)


async def _operate(settings: Settings, stack: contextlib.AsyncExitStack) -> None:
    itself = asyncio.current_task()
    assert itself

    def stop() -> None:
        _end_soon(0)
        itself.cancel()

    _on_signals(stop)
    api = await connect()
    stack.push_async_callback(api.close)
    lease = Lease(api, os.environ["MILLRACE_LEASE"], os.environ["POD_NAME"])
    ca_bundle = Path(settings.ca_bundle_file).read_text() if settings.ca_bundle_file else None  # noqa: ASYNC240
    fenced = await connect(lease.left)
    stack.push_async_callback(fenced.close)
    controller = Controller(fenced, settings, ca_bundle)
    loaded = asyncio.Event()
    runner = await health.serve(int(os.environ.get("MILLRACE_PORT", PORT)), ready=loaded.is_set, alive=lambda: None)
    stack.push_async_callback(runner.cleanup)
    named = await _persistently(lambda: _allowed(api, settings.namespaces))
    if settings.namespaces and not named:
        raise SystemExit("none of the namespaces to watch grants its Role")
    namespaces: list[str | None] = [*named] or [None]
    await _persistently(lambda: controller.load(namespaces))
    gc.freeze()  # what is loaded stays: to look for garbage in it again and again took a quarter of the start's CPU
    loaded.set()
    tasks = {
        asyncio.create_task(_lead(lease, controller), name="workers"),
        asyncio.create_task(sweep_for_ever(controller, namespaces), name="sweep"),
        asyncio.create_task(_watch(controller, named, lambda: lease.away, stop), name="kopf"),
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        _end_soon(1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        log.error("a part of the operator ended", part=task.get_name(), error=repr(task.exception()))
    raise SystemExit(1)


def main() -> None:
    """Entry point of the operator's image."""
    path = Path(os.environ.get("MILLRACE_CONFIG", "/etc/millrace/config.yaml"))
    raw = yaml.safe_load(path.read_text())
    configure_logs(os.environ.get("MILLRACE_LOG_LEVEL", "info"))
    deep_json.install()
    with contextlib.suppress(asyncio.CancelledError):  # a signal
        asyncio.run(operate(Settings.model_validate(raw)))


if __name__ == "__main__":
    main()
