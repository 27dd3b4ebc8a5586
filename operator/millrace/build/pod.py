"""The pod of a run. This module alone knows its layout; docs/protocol.md states it."""

from __future__ import annotations

import json
from typing import Any

from millrace import protocol as p
from millrace.api.base import seconds
from millrace.build.plan import for_attempt, plan, staged_path
from millrace.build.stores import (
    AZURE_WITHOUT,
    ca_mounts,
    ca_volumes,
    claim_mount,
    claim_mounts,
    claim_volumes,
    credentials_env,
    identity_labels,
    mount,
    token_mounts,
    token_volumes,
)
from millrace.domain.resolved import Resolved, ResolvedInput
from millrace.domain.settings import Settings

AUTHORITIES = "millrace-authorities"  # ConfigMap with the installation's certificate authorities, in the run's namespace

Manifest = dict[str, Any]


def compact(value: object) -> str:
    """JSON without blanks, the same text for the same value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def pod_security_context(settings: Settings, override: Manifest | None = None) -> Manifest:
    """One user and group for all containers, so that collect can read what main wrote (0700 folders too)."""
    identity: Manifest = {}
    if settings.run_as_user is not None:
        identity = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), settings.run_as_user)
    return {
        **identity,
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
        **(override or {}),
    }


def security_context(*, read_only: bool) -> Manifest:
    """What Pod Security `restricted` asks of a container; ours also have a read-only root."""
    context: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {**context, "readOnlyRootFilesystem": True} if read_only else context


def escaped(value: str) -> str:
    """A value that the kubelet must not expand: it would take $(NAME) for a reference, and $$ for $."""
    return value.replace("$", "$$")


def _main_env(resolved: Resolved) -> list[Manifest]:
    spec, meta = resolved.run.spec, resolved.run.metadata
    variables: list[Manifest] = [
        {"name": name, "value": escaped(value)} for name, value in sorted(spec.environment_variables.items())
    ]
    for item in spec.env:
        source: Manifest = {"valueFrom": item.value_from} if item.value_from else {"value": escaped(item.value or "")}
        variables.append({"name": item.name, **source})
    return [
        *variables,
        {"name": "MILLRACE_RUN", "value": meta.name},
        {"name": "MILLRACE_NAMESPACE", "value": meta.namespace},
    ]


def needs_stage(resolved: Resolved) -> bool:
    """Whether the pod needs its init container: a run without data on one of our images has main alone."""
    return bool(
        any(found.staged for found in resolved.inputs)
        or resolved.source
        or needs_collect(resolved)
        or resolved.function.spec.requirements
        or not resolved.image_is_ours
    )


def needs_copies(resolved: Resolved) -> bool:
    """Whether stage puts something into the inputs' volume."""
    return any(found.staged and not found.mounted for found in resolved.inputs)


def needs_collect(resolved: Resolved) -> bool:
    """Whether something is uploaded."""
    return bool(resolved.outputs or resolved.logs_store)


def _stage(resolved: Resolved, settings: Settings) -> Manifest:
    stores, needed = resolved.stores, len(resolved.needed_stores)
    kept = (resolved.logs_store, resolved.plan_store)  # for the log of a stage that fails, and the plan of shards
    written = {store.metadata.name for store in kept if store}
    mounts = [
        mount("ctl", p.CTL_DIR),
        mount("run", p.RUN_DIR),
        mount("source", p.SOURCE_DIR, read_only=resolved.source is None),
        mount("pod", p.POD_INFO_DIR, read_only=True),
        mount("seal", p.SEAL_DIR),
        mount("work", "/tmp"),  # noqa: S108 - a volume of our containers
        *ca_mounts(stores),
        *claim_mounts(stores, written=written),
        *token_mounts(stores),
    ]
    if needs_copies(resolved):
        mounts.append(mount("in", p.IN_DIR))
    if settings.ca_bundle_file and resolved.needs_authorities:
        mounts.append(mount("authorities", f"{p.CA_DIR}/index", read_only=True))
    return {
        "name": p.STAGE,
        "image": settings.stage_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["stage"],
        "env": [
            variable
            for index, store in enumerate(stores)
            for variable in credentials_env(store, index, optional=index >= needed)
        ],
        "resources": settings.stage_resources,
        "securityContext": security_context(read_only=True),
        "volumeMounts": mounts,
    }


def _mounted(found: ResolvedInput, resolved: Resolved) -> Manifest:
    """The place of a claim that is an input, where it would be copied to."""
    assert found.store is not None
    return claim_mount(resolved.stores, found.store, staged_path(found, resolved), found.path.strip("/"))


def _main(resolved: Resolved) -> Manifest:
    spec = resolved.run.spec
    mounts = [
        mount("run", p.RUN_DIR),
        mount("source", p.SOURCE_DIR, read_only=True),
        mount("pod", p.POD_INFO_DIR, read_only=True),
        mount("tmp", "/tmp"),  # noqa: S108 - the run's scratch
    ]
    if needs_stage(resolved):
        mounts.append(mount("ctl", p.CTL_DIR, read_only=True))
    if needs_copies(resolved):
        mounts.append(mount("in", p.IN_DIR, read_only=True))
    mounts += [_mounted(found, resolved) for found in resolved.inputs if found.mounted]
    if resolved.written:
        mounts.append(mount("out", p.OUT_VOLUME))
    runtime = p.IMAGE_RUNTIME_DIR if resolved.image_is_ours else p.RUNTIME_DIR
    container = {
        "name": p.MAIN,
        "image": resolved.image,
        # Isolated: the user's PYTHON* variables are for the user's code, not for process 1. As a file without site it
        # starts 15 ms earlier.
        "command": ["python3", "-I", "-S", f"{runtime}/__main__.py"],
        "env": _main_env(resolved),
        "resources": spec.resources or {},
        "securityContext": security_context(read_only=False),
        "volumeMounts": [*mounts, *spec.volume_mounts],
    }
    return {**container, "imagePullPolicy": "IfNotPresent"} if resolved.image_is_ours else container


def _collect(resolved: Resolved, settings: Settings) -> Manifest:
    stores = resolved.data_stores
    written = {store.metadata.name for store in resolved.written_stores}
    mounts = [
        mount("ctl", p.CTL_DIR, read_only=True),
        mount("run", p.RUN_DIR, read_only=True),
        mount("seal", p.SEAL_DIR, read_only=True),
        mount("pod", p.POD_INFO_DIR, read_only=True),
        mount("work", "/tmp"),  # noqa: S108 - a volume of our containers
        *ca_mounts(stores),
        *claim_mounts(stores, written=written, only=True),
        *token_mounts(stores),
    ]
    if resolved.outputs:
        mounts.append(mount("out", p.OUT_VOLUME, read_only=True))
    return {
        "name": p.COLLECT,
        "image": settings.stage_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["collect"],
        "env": [variable for index, store in enumerate(stores) for variable in credentials_env(store, index)],
        "resources": settings.collect_resources,
        "securityContext": security_context(read_only=True),
        "volumeMounts": mounts,
    }


def _volumes(resolved: Resolved, settings: Settings) -> list[Manifest]:
    spec = resolved.run.spec
    limit: Manifest = {"sizeLimit": spec.scratch.size} if spec.scratch else {}
    inline = {"configMap": {"name": resolved.revision, "items": [{"key": "main.py", "path": "main.py"}]}}
    annotations = ((p.PLAN_ANNOTATION, "plan.json"), (p.PAYLOAD_ANNOTATION, "payload.json"))
    volumes: list[Manifest] = [
        {"name": "run", "emptyDir": {}},
        {"name": "tmp", "emptyDir": dict(limit)},
        {"name": "source", **({"emptyDir": {}} if resolved.source else inline)},
        {
            "name": "pod",
            "downwardAPI": {
                "items": [
                    {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}
                    for annotation, path in annotations
                ]
            },
        },
    ]
    if needs_stage(resolved):
        volumes += [{"name": name, "emptyDir": {}} for name in ("ctl", "seal", "work")]
    if needs_copies(resolved):
        volumes.append({"name": "in", "emptyDir": {}})
    if resolved.written:
        volumes.append({"name": "out", "emptyDir": dict(limit)})
    if settings.ca_bundle_file and resolved.needs_authorities:
        volumes.append({"name": "authorities", "configMap": {"name": AUTHORITIES}})
    return [
        *volumes,
        *(ca_volumes(resolved.stores, len(resolved.needed_stores)) if needs_stage(resolved) else []),
        *claim_volumes(resolved.stores),
        *token_volumes(resolved.stores),
        *spec.volumes,
    ]


def grace_seconds(resolved: Resolved) -> int:
    """Time between SIGTERM and SIGKILL: for user code to stop and, where there is one, for collect to upload."""
    upload = min(seconds(resolved.run.spec.timeouts.uploading), p.GRACE_UPLOAD_SECONDS)
    return p.STOP_SECONDS + (upload if needs_collect(resolved) else 5)


def pod_spec(resolved: Resolved, settings: Settings) -> Manifest:
    """The pod's spec."""
    spec = resolved.run.spec
    pull_secrets = [{"name": name} for name in settings.image_pull_secrets]
    pull_secrets += [reference.dump() for reference in spec.image_pull_secrets]
    optional = {
        "nodeSelector": spec.node_selector,
        "tolerations": spec.tolerations,
        "affinity": spec.affinity,
        "priorityClassName": spec.priority_class_name,
        "runtimeClassName": spec.runtime_class_name,
        "serviceAccountName": spec.service_account_name,
        "imagePullSecrets": pull_secrets,
        "initContainers": [_stage(resolved, settings)] if needs_stage(resolved) else None,
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # many Services make a slow start (knative/serving#9104)
        "terminationGracePeriodSeconds": grace_seconds(resolved),
        "securityContext": pod_security_context(settings, spec.pod_security_context),
        "containers": [_main(resolved), *([_collect(resolved, settings)] if needs_collect(resolved) else [])],
        "volumes": _volumes(resolved, settings),
        **{key: value for key, value in optional.items() if value},
    }


def pod_annotations(resolved: Resolved, settings: Settings, payload: Manifest, attempt: int) -> dict[str, str]:
    """The annotations that the downward API mounts, the plan and the payload; and that no cloud identity goes to main."""
    return {
        p.PLAN_ANNOTATION: compact(for_attempt(plan(resolved, settings), attempt)),
        p.PAYLOAD_ANNOTATION: compact(payload),
        **({AZURE_WITHOUT: p.MAIN} if identity_labels(resolved.stores) else {}),
    }
