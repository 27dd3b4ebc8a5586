"""What the stores of a run bring into its pod: variables, labels, volumes and mounts, by their number in the plan."""

from __future__ import annotations

from typing import Any

from millrace import protocol as p
from millrace.api.datastore import CredentialKeys, DataStore

AZURE_IDENTITY = "azure.workload.identity/use"  # label
AZURE_WITHOUT = "azure.workload.identity/skip-containers"  # annotation
AUDIENCE = "sts.amazonaws.com"
TOKEN_SECONDS = 3600  # the kubelet writes a new one before

Manifest = dict[str, Any]


def mount(name: str, path: str, *, read_only: bool = False) -> Manifest:
    """A volume's mount."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def credentials_env(store: DataStore, index: int, *, optional: bool = False) -> list[Manifest]:
    """A store's credentials as variables that the kubelet fills; the operator never reads the Secret.

    optional: a Secret or a key that is not there does not hold up the pod.
    """
    credentials = store.spec.credentials
    if credentials is None or store.spec.kind is None:
        return []
    keys = credentials.keys or CredentialKeys()
    named = {"ACCESS_KEY": keys.access_key, "SECRET_KEY": keys.secret_key}
    return [
        {
            "name": p.store_variable(index, variable),
            "valueFrom": {
                "secretKeyRef": {
                    "name": credentials.secret_ref.name,
                    "key": named[variable],
                    **({"optional": True} if optional else {}),
                }
            },
        }
        for variable in p.STORE_KEYS[store.spec.kind]
    ]


def identity_labels(stores: tuple[DataStore, ...]) -> dict[str, str]:
    """The label that asks Azure's webhook for the identity of the pod's ServiceAccount, where a store has no credentials."""
    asked = any(store.spec.azure_blob and not store.spec.credentials for store in stores)
    return {AZURE_IDENTITY: "true"} if asked else {}


def ca_volumes(stores: tuple[DataStore, ...], needed: int = 1) -> list[Manifest]:
    """A volume for each store that has a certificate authority of its own; the pod waits for those of the first `needed`."""
    return [
        {
            "name": f"ca-{index}",
            "configMap": {
                "name": store.spec.ca_bundle_ref.config_map,
                "items": [{"key": store.spec.ca_bundle_ref.key or "ca.crt", "path": "ca.crt"}],
                **({"optional": True} if index >= needed else {}),
            },
        }
        for index, store in enumerate(stores)
        if store.spec.ca_bundle_ref
    ]


def ca_mounts(stores: tuple[DataStore, ...]) -> list[Manifest]:
    """The mounts of ca_volumes."""
    return [
        {"name": f"ca-{index}", "mountPath": f"{p.CA_DIR}/{index}", "readOnly": True}
        for index, store in enumerate(stores)
        if store.spec.ca_bundle_ref
    ]


def token_volumes(stores: tuple[DataStore, ...]) -> list[Manifest]:
    """A volume for each store that is reached as the pod's ServiceAccount: a token for the store's audience, that ends."""
    return [
        {
            "name": f"token-{index}",
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "audience": store.spec.s3.web_identity.audience or AUDIENCE,
                            "expirationSeconds": TOKEN_SECONDS,
                            "path": p.TOKEN_FILE,
                        }
                    }
                ]
            },
        }
        for index, store in enumerate(stores)
        if store.spec.s3 and store.spec.s3.web_identity
    ]


def token_mounts(stores: tuple[DataStore, ...]) -> list[Manifest]:
    """The mounts of token_volumes."""
    return [
        mount(f"token-{index}", f"{p.TOKENS_DIR}/{index}", read_only=True)
        for index, store in enumerate(stores)
        if store.spec.s3 and store.spec.s3.web_identity
    ]


def claim_volumes(stores: tuple[DataStore, ...]) -> list[Manifest]:
    """A volume for each claim that is a store, or several: a pod with two volumes of one claim may never start."""
    claims: dict[str, list[DataStore]] = {}
    for store in stores:
        if store.spec.volume:
            claims.setdefault(store.spec.volume.claim_name, []).append(store)
    return [
        {
            "name": _volume(stores, found[0]),
            "persistentVolumeClaim": {
                "claimName": name,
                **({} if any(store.spec.writable for store in found) else {"readOnly": True}),
            },
        }
        for name, found in claims.items()
    ]


def claim_mounts(stores: tuple[DataStore, ...], *, written: set[str], only: bool = False) -> list[Manifest]:
    """The mounts of claim_volumes, to be written to where the store's name is in `written`; `only` those, or all."""
    return [
        claim_mount(stores, store, f"{p.STORES_DIR}/{index}", "", read_only=store.metadata.name not in written)
        for index, store in enumerate(stores)
        if store.spec.volume and (store.metadata.name in written or not only)
    ]


def claim_mount(stores: tuple[DataStore, ...], store: DataStore, path: str, key: str, *, read_only: bool = True) -> Manifest:
    """The mount of what lies under a key of a claim."""
    assert store.spec.volume is not None
    inside = "/".join(part for part in (store.spec.volume.sub_path, key) if part)
    return {**mount(_volume(stores, store), path, read_only=read_only), **({"subPath": inside} if inside else {})}


def _volume(stores: tuple[DataStore, ...], store: DataStore) -> str:
    """The name of a claim's volume: after the first store on it."""
    claims = [found.spec.volume.claim_name if found.spec.volume else None for found in stores]
    assert store.spec.volume is not None
    return f"store-{claims.index(store.spec.volume.claim_name)}"
