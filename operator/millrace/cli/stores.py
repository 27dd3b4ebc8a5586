"""Reaching a DataStore from the user's machine: its description, keys and authority read with the user's own rights."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.api.datastore import OBJECT_STORES, CredentialKeys, DataStore
from millrace.build.plan import store_entry
from millrace.cli import tunnel
from millrace.cli.cluster import CONFIG_MAPS, SECRETS, Cluster
from millrace.cli.errors import Refused
from millrace.cli.explain import explain
from millrace.data.errors import DataError
from millrace.data.model import Credentials
from millrace.kube.api import ApiError, Resource
from millrace.kube.resources import DATASTORE
from millrace.protocol import STORE_KEYS

if TYPE_CHECKING:
    from millrace.data.stores import Store


async def read_stores(cluster: Cluster) -> dict[str, DataStore]:
    """The namespace's DataStores by name."""
    try:
        found = [item async for page in cluster.pages(DATASTORE, cluster.namespace) for item in page]
    except ApiError as error:
        raise explain(error, "list the DataStores") from None
    return {item["metadata"]["name"]: DataStore.model_validate(item) for item in found}


@asynccontextmanager
async def opened(cluster: Cluster, store: DataStore, workshop: Path) -> AsyncIterator[Store]:
    """The store, by a tunnel where only the cluster knows its endpoint."""
    from millrace.data.stores import open_store

    if store.spec.kind not in OBJECT_STORES:
        raise Refused(
            f"DataStore {store.metadata.name} is a {store.spec.kind}, which is in reach of the cluster's pods only"
        )
    if store.spec.s3 and store.spec.s3.web_identity:
        raise Refused(f"DataStore {store.metadata.name} knows the ServiceAccounts of runs only (spec.s3.webIdentity)")
    entry = {**store_entry(store, 0), "ca": await _authority(cluster, store, workshop)}
    place = entry[str(store.spec.kind)]
    credentials = await _credentials(cluster, store)
    endpoint = place.get("endpoint")
    try:
        if not endpoint or await asyncio.to_thread(tunnel.resolvable, endpoint):
            direct = open_store(entry, credentials)
            yield direct
            direct.close()
            return
        target = await tunnel.find_target(cluster, endpoint, store.metadata.namespace)
        async with tunnel.proxy(cluster, target) as address:
            with tunnel.used_by_clients(address):
                store_client = open_store(entry, credentials)
            yield store_client
            store_client.close()
    except DataError as error:
        raise Refused(f"DataStore {store.metadata.name}: {error}") from None


async def _value(cluster: Cluster, resource: Resource, name: str, what: str) -> dict[str, str]:
    namespace = cluster.namespace
    try:
        found = await cluster.get(resource, namespace, name)
    except ApiError as error:
        raise explain(error, f"read {resource.kind} {name}, {what}") from None
    if found is None:
        raise Refused(f"{resource.kind} {name} does not exist in namespace {namespace}; it holds {what}")
    data: dict[str, str] = found.get("data") or {}
    return data


async def _credentials(cluster: Cluster, store: DataStore) -> Credentials | None:
    named = store.spec.credentials
    if named is None:
        return None
    secret = named.secret_ref.name
    data = await _value(cluster, SECRETS, secret, f"the keys of DataStore {store.metadata.name}")
    wanted = named.keys or CredentialKeys()
    names = {"ACCESS_KEY": wanted.access_key, "SECRET_KEY": wanted.secret_key}
    keys = [names[variable] for variable in STORE_KEYS[str(store.spec.kind)]]
    for key in keys:
        if key not in data:
            raise Refused(f"Secret {secret} has no key {key}, which DataStore {store.metadata.name} names")
    *access, hidden = (base64.b64decode(data[key]).decode().strip() for key in keys)
    return Credentials("".join(access), hidden)


async def _authority(cluster: Cluster, store: DataStore, workshop: Path) -> str | None:
    named = store.spec.ca_bundle_ref
    if named is None:
        return None
    data = await _value(cluster, CONFIG_MAPS, named.config_map, f"the authority of DataStore {store.metadata.name}")
    key = named.key or "ca.crt"
    if key not in data:
        raise Refused(f"ConfigMap {named.config_map} has no key {key}, which DataStore {store.metadata.name} names")
    path = workshop / "ca.crt"
    await asyncio.to_thread(path.write_text, data[key])
    return str(path)
