"""Liveness, readiness and metrics over HTTP."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def serve(port: int, *, ready: Callable[[], bool], alive: Callable[[], str | None]) -> web.AppRunner:
    """Serves /healthz, /readyz and /metrics. `alive` returns what is wrong, or None."""

    async def healthz(_: web.Request) -> web.Response:
        fault = alive()
        return web.Response(text=fault or "ok", status=503 if fault else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok" if ready() else "loading", status=200 if ready() else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
