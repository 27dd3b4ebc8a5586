"""The operator's process: reads its settings, loads the state, watches, works."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import kopf
import structlog
import yaml

from millrace.domain.settings import Settings
from millrace.handlers import watch
from millrace.kube.api import Api, ApiError, connect
from millrace.kube.resources import WATCHED
from millrace.runtime import health
from millrace.runtime.controller import Controller
from millrace.runtime.sweep import sweep_for_ever

log = structlog.get_logger()

PORT = 8080
LOAD_PAUSE = 2  # seconds between two tries to load the state


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


async def _load(controller: Controller, namespaces: list[str | None]) -> None:
    while True:
        try:
            return await controller.load(namespaces)
        except ApiError as error:
            log.warning("cannot load the state; trying again", error=str(error), seconds=LOAD_PAUSE)
            await asyncio.sleep(LOAD_PAUSE)


async def operate(settings: Settings) -> None:
    """Runs the operator until SIGTERM or until a part of it fails."""
    api = Api(await connect())
    ca_bundle = Path(settings.ca_bundle_file).read_text() if settings.ca_bundle_file else None  # noqa: ASYNC240
    controller = Controller(api, settings, ca_bundle)
    loaded = asyncio.Event()
    runner = await health.serve(PORT, ready=loaded.is_set, alive=lambda: None)
    named = await _allowed(api, settings.namespaces)
    if settings.namespaces and not named:
        raise SystemExit("none of the namespaces to watch grants its Role")
    namespaces: list[str | None] = [*named] or [None]
    await _load(controller, namespaces)
    loaded.set()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = {
        asyncio.create_task(controller.run(), name="workers"),
        asyncio.create_task(sweep_for_ever(controller, namespaces), name="sweep"),
        asyncio.create_task(
            kopf.operator(
                registry=watch.registry(controller),
                settings=watch.settings(),
                clusterwide=not named,
                namespaces=named,
                standalone=True,
                stop_flag=stop,
            ),
            name="kopf",
        ),
        asyncio.create_task(stop.wait(), name="stop"),
    }
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await runner.cleanup()
    await api.close()
    failed = [task for task in done if task.get_name() != "stop" and not stop.is_set()]
    for task in failed:
        log.error("a part of the operator ended", part=task.get_name(), error=repr(task.exception()))
    if failed:
        raise SystemExit(1)


def main() -> None:
    """Entry point of the operator's image."""
    path = Path(os.environ.get("MILLRACE_CONFIG", "/etc/millrace/config.yaml"))
    raw = yaml.safe_load(path.read_text())
    configure_logs(os.environ.get("MILLRACE_LOG_LEVEL", "info"))
    asyncio.run(operate(Settings.model_validate(raw)))


if __name__ == "__main__":
    main()
