"""A real API server for the tests of this tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.apiserver import CONTROLLERS, ApiServer, running


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """One for all tests, with our CRDs, the Job controller and the garbage collector; no kubelet."""
    with running(CONTROLLERS) as server:
        yield server
