"""Fixtures of the API's tests."""

from __future__ import annotations

import pytest

from support.apiserver import ApiServer


@pytest.fixture(scope="session")
def api(api_server: ApiServer) -> ApiServer:
    """The API server, with the namespace `api`."""
    api_server.namespace("api")
    return api_server
