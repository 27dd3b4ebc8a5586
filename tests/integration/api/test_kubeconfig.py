"""What the command line makes of a kubeconfig."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from millrace.cli import cluster
from support.apiserver import ApiServer, Refused
from support.waiting import wait_for

PLUGIN = "client.authentication.k8s.io/v1"
EXPIRES = timedelta(seconds=305)  # the client asks for the next one five minutes before the end


def service_account(api: ApiServer, name: str) -> str:
    """Makes a ServiceAccount; a token of its."""
    meta = {"name": name, "namespace": "api"}
    api.admin.request(
        "POST",
        "/api/v1/namespaces/api/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
    )
    return api.token("api", name)


def kubeconfig(api: ApiServer, folder: Path) -> Path:
    """One whose user is what a plugin says, which prints the file `credential`."""
    cluster_entry = {"server": api.url, "certificate-authority": str(api.pki / "ca.crt")}
    plugin = {"apiVersion": PLUGIN, "command": "cat", "args": [str(folder / "credential")], "interactiveMode": "Never"}
    content = {
        "clusters": [{"name": "c", "cluster": cluster_entry}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


def credential(folder: Path, token: str) -> None:
    status = {"token": token, "expirationTimestamp": (datetime.now(UTC) + EXPIRES).isoformat()}
    text = json.dumps({"apiVersion": PLUGIN, "kind": "ExecCredential", "status": status})
    (folder / "credential").write_text(text)


def test_a_plugin_s_next_token_is_used_when_the_first_one_expires(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (service_account(api, name) for name in ("first", "second"))
    credential(tmp_path, first)
    monkeypatch.setattr(cluster.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig(api, tmp_path)))
    monkeypatch.setattr(cluster, "REFRESH_SECONDS", 0.5)

    def is_refused() -> bool:
        client = api.client(first)
        try:
            client.request("GET", "/apis/batch/v1")
        except Refused as refused:
            return refused.status == 401
        finally:
            client.close()
        return False

    async def use() -> None:
        async with cluster.connected("api") as found:
            assert (await found.kind("batch/v1", "Job")).namespaced
            credential(tmp_path, second)
            api.admin.request("DELETE", "/api/v1/namespaces/api/serviceaccounts/first")
            await asyncio.to_thread(wait_for, "the first token is refused", is_refused, seconds=60)
            assert not (await found.kind("v1", "Node")).namespaced

    asyncio.run(use())
