"""What a run is made of, as it was when it was queued: its Function, its Deployment's template and mappings."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import ValidationError

from millrace.api.deployment import Deployment
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.build.revision import function_at
from millrace.domain.making import make
from millrace.domain.names import revision_name
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolved import NOTHING_MAPPED, Mapped
from millrace.domain.template import deployment_revision, shape
from millrace.runtime.store import Key, Store
from millrace.runtime.trim import Object


class MadeRun(NamedTuple):
    """A run with what its Deployment gives it, and what it names; why that cannot be."""

    run: JobRun
    function: Function | None = None
    deployment: Deployment | None = None
    mapped: Mapped = NOTHING_MAPPED
    obstacle: Obstacle | None = None


def made_run(store: Store, key: Key, found: Object) -> MadeRun:
    """The run of a JobRun's object."""
    spec, status = found["spec"], found["status"]
    if not spec.get("deploymentRef"):
        run = JobRun.model_validate(found)
        function, absent = _function(store, key.namespace, run.spec.function, status)
        return MadeRun(run, function, obstacle=absent)
    deployment = _deployment(store, key, found)
    if deployment is None:
        return MadeRun(JobRun.model_validate(found))
    content = _content(store, key, deployment, status.get("deploymentRevision"))
    if isinstance(content, Obstacle):
        return MadeRun(JobRun.model_validate(found), deployment=deployment, obstacle=content)
    function, absent = _function(store, key.namespace, content["functionRef"]["name"], status)
    made, name = make(content, spec, function), deployment.metadata.name
    try:
        run = JobRun.model_validate({**found, "spec": made.spec})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        why = f"spec.{field}: {first['msg']}; the run's and those of Deployment {name} do not go together"
        rejected = Obstacle(Reason.TEMPLATE_REJECTED, why, heals=False)
        return MadeRun(JobRun.model_validate(found), deployment=deployment, obstacle=rejected)
    unmade = made.obstacle and made.obstacle._replace(message=f"Deployment {name}: {made.obstacle.message}")
    return MadeRun(run, function, deployment, made.mapped, absent or unmade)


def _deployment(store: Store, key: Key, found: Object) -> Deployment | None:
    obj = store.get(Key("Deployment", key.namespace, found["spec"]["deploymentRef"]["name"]))
    if obj is None or found["status"].get("deploymentId") not in {None, obj["metadata"]["uid"]}:
        return None  # the run's own is gone, and another one has its name
    return Deployment.model_validate(obj)


def _content(store: Store, key: Key, deployment: Deployment, recorded: str | None) -> dict[str, Any] | Obstacle:
    """The Deployment's shape in the state in which the run was queued."""
    if recorded in {None, deployment_revision(deployment.metadata.name, deployment.spec)}:
        return shape(deployment.spec)
    kept = store.get(Key("ConfigMap", key.namespace, str(recorded)))
    if kept is None:
        return _no_revision(str(recorded))
    content: dict[str, Any] = json.loads(kept["data"]["spec.json"])
    return content


def _function(store: Store, namespace: str, name: str, status: Object) -> tuple[Function | None, Obstacle | None]:
    """The run's Function, in the state in which the run was queued."""
    found = store.get(Key("Function", namespace, name))
    if found is None:
        return None, None
    function, recorded = Function.model_validate(found), status.get("functionRevision")
    if recorded in {None, revision_name(name, function.spec.dump())}:
        return function, None
    kept = store.get(Key("ConfigMap", namespace, recorded))
    if kept is None:
        return function, None if status.get("jobName") else _no_revision(recorded)
    return function_at(function, kept["data"]), None


def _no_revision(name: str) -> Obstacle:
    return Obstacle(Reason.REVISION_NOT_FOUND, f"ConfigMap {name}, which holds what the run is made of, is not there")
