"""Jobs that work on stores for the operator, which reaches none itself; the probe of a DataStore is one."""

from __future__ import annotations

from typing import Any, Final

from millrace import protocol as p
from millrace.api.datastore import DataStore
from millrace.build import pod, stores
from millrace.build.job import owner
from millrace.build.plan import https_inputs, store_entry
from millrace.domain.labels import COMPONENT, DATASTORE, MANAGED_BY, STAGE_IMAGE
from millrace.domain.names import label_value, probe_name
from millrace.domain.settings import Settings

Manifest = dict[str, Any]

# Of a Job that waits until we start it. `suspend` alone is not ours to rely on: where a namespace has a LocalQueue `default`
# Kueue takes every Job and resumes it at its own time. Without completions it would be over with any pod's success.
PARKED: Final[Manifest] = {"suspend": True, "parallelism": 0, "completions": 1}


def probe_job(store: DataStore, settings: Settings) -> Manifest:
    """The Job that probes a DataStore and stays until it is healthy.

    A missing Secret key keeps the pod in CreateContainerConfigError, from which the kubelet starts it when the key
    appears; a failed probe is started again with the kubelet's back-off (10 s to 5 min).
    """
    labels = {**MANAGED_BY, COMPONENT: "chore", DATASTORE: label_value(store.metadata.name)}
    labels |= stores.identity_labels((store,))
    plan = {"stores": [store_entry(store, 0)], **({"httpsInputs": https_inputs(settings)} if store.spec.http else {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": probe_name(store.metadata.name, store.metadata.generation),
            "namespace": store.metadata.namespace,
            "labels": labels,
            "annotations": {STAGE_IMAGE: settings.stage_image},
            "ownerReferences": [owner("DataStore", store.metadata)],
        },
        "spec": chore((store,), settings, labels, program="probe", variable=p.PROBE_VARIABLE, plan=plan),
    }


def chore(
    used: tuple[DataStore, ...],
    settings: Settings,
    labels: dict[str, str],
    *,
    program: str,
    variable: str,
    plan: Manifest,
    writes: bool = False,
    env: tuple[Manifest, ...] = (),
    authorities: bool = False,
) -> Manifest:
    """The spec of a Job that works on stores until it succeeds; `program` of our image gets its plan in a variable.

    `authorities`: the installation's go with it, where the namespace has them.
    """
    container = {
        "name": program,
        "image": settings.stage_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [program],
        "env": [
            {"name": variable, "value": pod.escaped(pod.compact(plan))},
            *env,
            *(variable for index, store in enumerate(used) for variable in stores.credentials_env(store, index)),
        ],
        "resources": settings.chore_resources,
        "securityContext": pod.security_context(read_only=True),
        "volumeMounts": [
            {"name": "work", "mountPath": "/tmp"},  # noqa: S108
            *stores.ca_mounts(used),
            *stores.claim_mounts(used, written={store.metadata.name for store in used} if writes else set()),
            *stores.token_mounts(used),
            *([stores.mount("authorities", f"{p.CA_DIR}/index", read_only=True)] if authorities else []),
        ],
    }
    return {
        "backoffLimit": 100_000,
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "restartPolicy": "OnFailure",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 2,
                "securityContext": pod.pod_security_context(settings),
                "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
                "containers": [container],
                "volumes": [
                    {"name": "work", "emptyDir": {}},
                    *stores.ca_volumes(used, len(used)),
                    *stores.claim_volumes(used),
                    *stores.token_volumes(used),
                    *([{"name": "authorities", "configMap": {"name": pod.AUTHORITIES}}] if authorities else []),
                ],
            },
        },
    }
