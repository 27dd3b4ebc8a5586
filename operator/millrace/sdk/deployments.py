"""Deployments: made, listed, looked at, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from millrace.api.base import API_VERSION
from millrace.api.deployment import Deployment
from millrace.cli.cluster import Cluster
from millrace.cli.errors import Refused
from millrace.cli.lookup import existing
from millrace.cli.program import answered, call
from millrace.cli.ready import until_ready
from millrace.cli.stores import read_stores
from millrace.domain.conditions import find
from millrace.domain.resolve import default_store
from millrace.kube.resources import DEPLOYMENT, FUNCTION
from millrace.sdk.mapping import InputSource, OutputDestination
from millrace.sdk.names import Object, object_name, said

READY_SECONDS = 60.0  # an operator that works looks at a Deployment in less than one


class DEPLOYMENT_MODES(StrEnum):  # noqa: N801 - Craft AI's name
    """How capacity is given."""

    ELASTIC = "elastic"


class DEPLOYMENT_EXECUTION_RULES(StrEnum):  # noqa: N801 - Craft AI's name
    """What starts a run: a call of `run` alone, or a schedule as well."""

    MANUAL = "manual"
    PERIODIC = "periodic"


def create_deployment(
    *,
    deployment_name: str,
    pipeline_name: str,
    execution_rule: str,
    deployment_mode: str = DEPLOYMENT_MODES.ELASTIC,
    schedule: str | None = None,
    inputs_mapping: Sequence[InputSource] | None = None,
    outputs_mapping: Sequence[OutputDestination] | None = None,
    description: str | None = None,
    namespace: str | None = None,
) -> Object:
    """Makes a Deployment of the Function `pipeline_name`, and waits until it is ready.

    Returns `name`, and of a periodic one `schedule` and `human_readable_schedule`. What cannot be ready is removed again.
    """

    async def work(cluster: Cluster) -> Object:
        default = await _default_store(cluster)
        spec = said(
            functionRef={"name": object_name(pipeline_name)},
            deploymentMode=str(deployment_mode),
            executionRule=str(execution_rule),
            schedule=schedule and {"cron": schedule},
            description=description,
            inputsMapping=[each.manifest(default) for each in inputs_mapping or ()] or None,
            outputsMapping=[each.manifest(default) for each in outputs_mapping or ()] or None,
        )
        meta = {"name": object_name(deployment_name), "namespace": cluster.namespace}
        manifest = {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": meta, "spec": spec}
        await existing(cluster, FUNCTION, object_name(pipeline_name))
        made = await answered(cluster.post(DEPLOYMENT, manifest), f"create Deployment {meta['name']}")
        obj, ready = await until_ready(cluster, DEPLOYMENT, cluster.namespace, meta["name"], seconds=READY_SECONDS)
        if ready is None:
            raise Refused(f"nobody has looked at Deployment {meta['name']} for {READY_SECONDS:g} s; does the operator run?")
        if ready.status != "True":
            await cluster.delete(DEPLOYMENT, cluster.namespace, meta["name"], made["metadata"]["uid"])
            raise Refused(f"Deployment {meta['name']} was not made: {ready.reason}: {ready.message}")
        told = Deployment.model_validate(obj).status.schedule
        times = {"schedule": told.expression, "human_readable_schedule": told.human_readable} if told else {}
        return {"name": meta["name"], **times}

    return call(work, namespace)


def list_deployments(*, namespace: str | None = None) -> list[Object]:
    """What `get_deployment` says, of all of them."""

    async def work(cluster: Cluster) -> list[Object]:
        found = [obj async for page in cluster.pages(DEPLOYMENT, cluster.namespace) for obj in page]
        return [_deployment(Deployment.model_validate(obj)) for obj in found]

    return call(work, namespace)


def get_deployment(*, deployment_name: str, namespace: str | None = None) -> Object:
    """Its name, Function, rule, schedule, readiness, and how many runs go on and wait."""

    async def work(cluster: Cluster) -> Object:
        found = await existing(cluster, DEPLOYMENT, object_name(deployment_name))
        return _deployment(Deployment.model_validate(found))

    return call(work, namespace)


def delete_deployment(*, deployment_name: str, namespace: str | None = None) -> Object:
    """Deletes it with the runs that its schedule made. Runs that somebody applied stay, and all outputs."""

    async def work(cluster: Cluster) -> Object:
        found = await existing(cluster, DEPLOYMENT, object_name(deployment_name))
        meta = found["metadata"]
        await answered(cluster.delete(DEPLOYMENT, meta["namespace"], meta["name"], meta["uid"]), "delete the Deployment")
        return {"name": meta["name"]}

    return call(work, namespace)


async def _default_store(cluster: Cluster) -> str | None:
    found = default_store(await read_stores(cluster))
    return found.metadata.name if found else None


def _deployment(found: Deployment) -> Object:
    spec, status = found.spec, found.status
    ready = find(status.conditions, "Ready")
    return said(
        name=found.metadata.name,
        pipeline_name=spec.function_ref.name,
        execution_rule=spec.execution_rule or DEPLOYMENT_EXECUTION_RULES.MANUAL.value,
        description=spec.description,
        schedule=status.schedule and status.schedule.expression,
        human_readable_schedule=status.schedule and status.schedule.human_readable,
        is_ready=ready is not None and ready.status == "True",
        reason=ready and ready.reason,
        message=(ready and ready.message) or None,
        running=status.running or 0,
        queued=status.queued or 0,
    )
