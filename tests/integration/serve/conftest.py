"""Services as processes: the runtime's folder, made once, and a way to start it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.serve.service import Service, bundle
from support.waiting import wait_for

Start = Callable[..., Service]


def soon(look: Callable[[], Any]) -> Any:
    """What `look` returns once it is true, within seconds."""
    return wait_for("it is not so", look, seconds=20, poll=0.02)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("serve"))


@pytest.fixture
def launch(program: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a service: its source and keys of its plan."""
    started: list[Service] = []

    def start(source: str, **plan: Any) -> Service:
        started.append(Service(tmp_path / f"service-{len(started)}", program, source, **plan))
        return started[-1]

    yield start
    for service in started:
        service.close()


@pytest.fixture(scope="module")
def serve(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A ready service by its source and plan; tests that want the same share one."""
    started: dict[str, Service] = {}

    def get(source: str, **plan: Any) -> Service:
        key = repr((source, plan))
        if key not in started:
            started[key] = Service(tmp_path_factory.mktemp("service") / "root", program, source, **plan)
        return started[key].ready()

    yield get
    for service in started.values():
        service.close()
