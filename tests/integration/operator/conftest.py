"""The tests of this folder run side by side: each mostly waits, for an operator of its own.

A test takes the fixtures `api_server` and `recovery` and its parameters, no other fixture. Marked `slow` (it waits for a minute by its
nature) it is started first; marked `timed` (it measures time) it is started when all others but the slow ones are over.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from support.recovery import Recovery

SIDE_BY_SIDE = 4
TIMED_SIDE_BY_SIDE = 2
HERE = Path(__file__).parent


def speed(item: pytest.Item) -> str:
    """quick, timed or slow."""
    return next((name for name in ("slow", "timed") if item.get_closest_marker(name)), "quick")


def rank(item: pytest.Item) -> int:
    """The order in which results come."""
    return ("quick", "timed", "slow").index(speed(item))


class Scenarios:
    """The tests of this folder, in threads."""

    def __init__(self, items: Iterable[pytest.Function], fixtures: dict[str, Any]) -> None:
        self._fixtures = fixtures
        self._pools = {
            "slow": ThreadPoolExecutor(64, "slow"),
            "quick": ThreadPoolExecutor(SIDE_BY_SIDE, "quick"),
            "timed": ThreadPoolExecutor(TIMED_SIDE_BY_SIDE, "timed"),
        }
        self._futures: dict[str, Future[None]] = {}
        quick: list[Future[None]] = []
        for item in sorted(items, key=lambda item: ("slow", "quick", "timed").index(speed(item))):
            before = list(quick) if speed(item) == "timed" else []
            future = self._pools[speed(item)].submit(self._run, item, before)
            self._futures[item.nodeid] = future
            if speed(item) == "quick":
                quick.append(future)

    def _run(self, item: pytest.Function, before: list[Future[None]]) -> None:
        wait(before)
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        available = {**self._fixtures, "recovery": Recovery(item.user_properties), **parameters}
        item.obj(**{name: available[name] for name in item._fixtureinfo.argnames})

    def result(self, item: pytest.Function) -> None:
        """The end of a test."""
        self._futures[item.nodeid].result()

    def stop(self) -> None:
        """Starts no other."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


SCENARIOS = pytest.StashKey[Scenarios]()


def pytest_configure(config: pytest.Config) -> None:
    """Markers of this folder."""
    config.addinivalue_line("markers", "slow: waits for a minute by its nature; started first")
    config.addinivalue_line("markers", "timed: measures time; runs while only slow ones do")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Results are asked for in the order in which they come."""
    ours = [item for item in items if HERE in item.path.parents]
    order = sorted(ours, key=rank)
    places = [index for index, item in enumerate(items) if HERE in item.path.parents]
    for index, item in zip(places, order, strict=True):
        items[index] = item


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Waits for the test's end instead of running it; the first one starts them all."""
    session = pyfuncitem.session
    if SCENARIOS not in session.stash:
        ours = [item for item in session.items if isinstance(item, pytest.Function) and HERE in item.path.parents]
        fixtures = {"api_server": pyfuncitem._request.getfixturevalue("api_server")}  # the first test may need none
        scenarios = session.stash[SCENARIOS] = Scenarios(ours, fixtures)
        session.config.add_cleanup(scenarios.stop)
    session.stash[SCENARIOS].result(pyfuncitem)
    return True
