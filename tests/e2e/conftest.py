"""Fixtures of the e2e suite: a namespace under Pod Security `restricted` for each test, and a bucket of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import canary
from support import store as stores
from support.cluster import Namespace, kubectl
from support.command import Command


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: waits for minutes by its nature; started first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster. What mostly waits begins first, so that the others run meanwhile."""
    for item in items:
        item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """Fails at once, and says what to do, where there is no cluster with millrace on it."""
    assert os.environ.get("KUBECONFIG"), 'no cluster: run hack/test e2e, or eval "$(hack/cluster env)" and hack/install'
    kubectl("get", "crd", "jobruns.millrace.dev")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A fresh namespace that admits restricted pods only."""
    name = f"e2e-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield Namespace(name)
    leaks = canary.found_in(canary.container_logs(name))
    kubectl("delete", "namespace", name, "--wait=false")
    assert leaks == [], "logs with a credential of the store"


@pytest.fixture
def bucket() -> stores.Bucket:
    """A fresh bucket; the store goes with the cluster."""
    return stores.new_bucket()


@pytest.fixture
def store(namespace: Namespace, bucket: stores.Bucket) -> stores.Bucket:
    """The namespace's default DataStore, `store`, on a bucket of its own."""
    stores.install(namespace, bucket)
    return bucket


@pytest.fixture
def millrace(namespace: Namespace, tmp_path: Path) -> Command:
    """The command line, in a folder of its own and for the namespace."""
    return Command(namespace, tmp_path)
