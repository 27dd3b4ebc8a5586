"""What the whole suite has left behind, searched for the store's key (promise 7). Runs after all other e2e tests."""

from __future__ import annotations

import pytest

from support import canary

local = pytest.mark.skipif(not canary.node().exists(), reason="only the local provider shows the node's files")


@local
def test_etcd_has_the_key_in_secrets_alone() -> None:
    """Statuses, Jobs, pods, ConfigMaps and Events of all tests, those that were deleted too."""
    keys = canary.etcd_keys()
    assert "/registry/secrets/minio/minio-root" in keys, "the search finds nothing"
    assert [key for key in keys if not key.startswith("/registry/secrets/")] == []


@local
def test_no_log_of_a_container_or_a_server_has_the_key() -> None:
    state = canary.node().parent
    logs = [*canary.container_logs(), *state.glob("log/*"), *state.glob("audit/*")]
    assert len(logs) > 10
    assert canary.found_in(logs) == []


def test_no_object_of_any_bucket_has_the_key() -> None:
    names, leaks = [], []
    for name, data in canary.objects():
        names.append(name)
        if canary.is_in(data):
            leaks.append(name)
    assert any(name.endswith("collect.log") for name in names), "no run has archived its logs"
    assert leaks == []
