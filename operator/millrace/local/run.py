"""A run without a cluster: resolved, planned and judged as the operator does it, by the same programs as in its pod."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Protocol

from millrace import protocol as p
from millrace.api.datastore import CredentialKeys
from millrace.api.jobrun import JobRun, JobRunStatus, Phase, Times
from millrace.build.chore import probe_job
from millrace.build.job import TooLarge, run_job
from millrace.build.revision import revision
from millrace.domain.attempts import Failure, may_retry
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolve import resolve
from millrace.domain.resolved import NOTHING_MAPPED, Resolved
from millrace.domain.settings import DEFAULT_PYTHON, HttpsInputs, Profile, Settings
from millrace.local.catalog import Catalog, Key
from millrace.local.pod import ConfigError, Pod, Sources
from millrace.local.python import RUNNING, make_environment
from millrace.observe.failure import of_pod
from millrace.observe.pod import ContainerFacts, PodFacts
from millrace.reconcile.outcome import Outcome, finish
from millrace.reconcile.plan import PatchStatus

KEYS = {  # of stores whose Secret is not among the manifests
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "azureBlob": ("AZURE_STORAGE_KEY",),
    "gcs": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
    "http": (),
}
SAID_LINES = 40
# What the scheduler and the kubelet make of a spec, and a process of this machine does not.
CLUSTER_ONLY = (
    "resources", "node_selector", "tolerations", "affinity", "priority_class_name", "runtime_class_name",
    "service_account_name", "profile", "image_pull_secrets", "volumes", "volume_mounts", "pod_security_context",
    "kueue_queue",
)  # fmt: skip


class Listener(Protocol):
    """Who is told how a run goes."""

    def log(self, line: bytes) -> None:
        """A line of user code's output."""

    def changed(self, run: JobRun) -> None:
        """The run's status is another one."""

    def detail(self, text: str) -> None:
        """What is being done right now."""

    def warn(self, text: str) -> None:
        """What differs from a cluster."""


class LocalRun:
    """One run. `cancel` and `kill` may be called from a signal handler of the event loop."""

    def __init__(self, run: JobRun, catalog: Catalog, listener: Listener) -> None:
        self._run, self._catalog, self._listener = run, catalog, listener
        self._settings = Settings(stage_image="", python_versions={})
        self._said: deque[str] = deque(maxlen=SAID_LINES)
        self._pod: Pod | None = None
        self._cancelled: str | None = None

    def cancel(self, why: str) -> None:
        """Tells user code to stop, as `spec.cancel` does."""
        self._cancelled = self._cancelled or why
        if self._pod is not None:
            self._pod.stop()

    def kill(self) -> None:
        """Ends everything at once."""
        if self._pod is not None:
            self._pod.kill()

    async def execute(self) -> JobRun:
        """The run with its final status. Nothing of it is left on this machine but what it published."""
        with workshop() as folder:
            try:
                outcome = await self._attempts(folder)
            finally:
                self.kill()
                _forget(self._run.metadata.uid, self._catalog.folders.values())
        if self._cancelled is not None and outcome.failure is not None:
            failure = replace(outcome.failure, reason=Reason.CANCELLED, message=self._cancelled)
            outcome = replace(outcome, phase=Phase.CANCELLED, failure=failure)
        plan = finish(self._run, outcome, datetime.now(UTC))
        status = next(action.status for action in plan.actions if isinstance(action, PatchStatus))
        known = self._run.status.dump()
        self._run = self._run.model_copy(update={"status": JobRunStatus.model_validate({**known, **status})})
        self._listener.changed(self._run)
        return self._run

    async def _attempts(self, folder: Path) -> Outcome:
        found = await self._resolved(folder)
        if isinstance(found, Resolved):
            found = await self._reachable(found, folder) or found
        if isinstance(found, Obstacle):
            return Outcome(Phase.FAILED, Failure(found.reason, found.message))
        self._warn_of(found)
        charged = 0
        for attempt in count(1):
            try:
                facts = await self._attempt(found, attempt, folder / str(attempt))
            except TooLarge as error:
                return Outcome(Phase.FAILED, Failure(Reason.PAYLOAD_TOO_LARGE, str(error)))
            except ConfigError as error:
                return Outcome(Phase.FAILED, Failure(Reason.CONFIG_ERROR, str(error)))
            if facts.phase == "Succeeded":
                return Outcome(Phase.SUCCEEDED, pod=facts)
            failure = of_pod(facts)
            if self._cancelled is not None or not may_retry(failure, attempt, charged, self._run.spec.retries):
                return Outcome(Phase.FAILED, failure, pod=facts)
            charged += failure.charged
            self._listener.warn(f"attempt {attempt} failed: {failure.reason}: {failure.message}")
        raise AssertionError("attempts have an end")

    async def _resolved(self, folder: Path) -> Resolved | Obstacle:
        meta, named = self._run.metadata, self._run.spec.function
        function = self._catalog.functions.get((meta.namespace, named))
        if function is None:
            return Obstacle(Reason.FUNCTION_NOT_FOUND, f"Function {named} is not among the manifests")
        if function.spec.image or function.spec.base_image:
            what = "image" if function.spec.image else "baseImage"
            return Obstacle(Reason.IMAGE_PULL, f"Function {named} runs on an image (spec.{what}), which needs a cluster")
        if self._run.spec.parallel:
            return Obstacle(Reason.PARALLEL_REJECTED, "spec.parallel needs a cluster; without it the run does all as one")
        version = function.spec.python_version or DEFAULT_PYTHON
        python = await make_environment(folder / "python", version)
        if python is None and function.spec.python_version is None:
            self._listener.warn(
                f"Python {version} is not on this machine (uv python install {version}); the run has {RUNNING}"
            )
            function = function.model_copy(update={"spec": function.spec.model_copy(update={"python_version": RUNNING})})
            version, python = RUNNING, await make_environment(folder / "python", RUNNING)
        if python is None:
            missing = f"Python {version} is not on this machine: uv python install {version}"
            return Obstacle(Reason.PYTHON_VERSION_NOT_OFFERED, missing)
        profile = self._run.spec.profile
        self._settings = Settings(
            stage_image="",
            python_versions={version: str(python)},
            index_url=os.environ.get("UV_DEFAULT_INDEX"),
            profiles={profile: Profile()} if profile else {},
            https_inputs=HttpsInputs(allow=["0.0.0.0/0", "::/0"]),  # it is the user's own network
        )
        found = resolve(
            self._run,
            function,
            self._catalog.stores_of(meta.namespace),
            (),
            self._settings,
            self._catalog.mapped.get(meta.uid, NOTHING_MAPPED),
        )
        if isinstance(found, Obstacle) and found.reason in {Reason.DATA_STORE_NOT_FOUND, Reason.DEFAULT_STORE_NOT_FOUND}:
            return found._replace(message=f"{found.message}; here --store NAME=DIR takes a folder for it")
        return found

    async def _reachable(self, found: Resolved, folder: Path) -> Obstacle | None:
        """What keeps a store from being used, if anything does: the operator's probe, so that nothing waits for a store."""
        for number, store in enumerate(found.needed_stores):  # requirements do without theirs
            if store.spec.place is None:
                continue
            if store.spec.volume:
                why = f"a claim is not on this machine; --store {store.metadata.name}=DIR takes a folder for it"
                return Obstacle(Reason.DATA_STORE_NOT_READY, f"DataStore {store.metadata.name}: {why}")
            spec = probe_job(store, self._settings)["spec"]["template"]["spec"]
            try:
                self._pod = Pod(folder / f"probe-{number}", spec, self._sources(found), python=Path(), folders={})
                facts = await self._pod.run("probe", self._tell)
            except ConfigError as error:
                known = KEYS[store.spec.kind or "s3"]
                why = f"CredentialsMissing: {error}" + (f"; {' and '.join(known)} would do, too" if known else "")
                return Obstacle(Reason.DATA_STORE_NOT_READY, f"DataStore {store.metadata.name}: {why}")
            report = facts.report()
            if facts.failed:
                why = f"{report.get('reason', 'ProbeFailed')}: {report.get('message', '')}"
                return Obstacle(Reason.DATA_STORE_NOT_READY, f"DataStore {store.metadata.name}: {why}")
        return None

    def _sources(self, found: Resolved, annotations: Mapping[str, str] | None = None) -> Sources:
        meta = found.run.metadata

        def here(objects: Mapping[Key, dict[str, str]]) -> dict[str, dict[str, str]]:
            return {name: data for (namespace, name), data in objects.items() if namespace == meta.namespace}

        keys: dict[str, dict[str, str]] = {}
        for store in found.stores:
            named = store.spec.credentials
            found_here = [os.environ.get(name, "") for name in KEYS.get(store.spec.kind or "", ())]
            if named and found_here and all(found_here):
                wanted = named.keys or CredentialKeys()
                pairs = zip((wanted.secret_key, wanted.access_key), reversed(found_here), strict=False)
                keys[named.secret_ref.name] = dict(pairs)
        return Sources(
            config_maps={**here(self._catalog.config_maps), found.revision: revision(found.function)["data"]},
            secrets=here(self._catalog.secrets),
            store_secrets=keys,
            annotations=annotations or {},
            fields={"metadata.name": meta.name, "metadata.namespace": meta.namespace, "metadata.uid": meta.uid},
        )

    def _make_pod(self, found: Resolved, attempt: int, root: Path) -> Pod:
        """The pod of an attempt, which is what stops and ends from here on. Raises TooLarge, ConfigError."""
        template = run_job(found, self._settings, attempt)["spec"]["template"]
        folders = {
            number: self._catalog.folders[store.metadata.name]
            for number, store in enumerate(found.stores)
            if store.spec.place is None
        }
        sources = self._sources(found, template["metadata"]["annotations"])
        pod = Pod(root, template["spec"], sources, python=Path(found.image), folders=folders)
        self._pod = pod
        if self._cancelled is not None:  # while there was nothing to tell
            pod.stop()
        return pod

    async def _attempt(self, found: Resolved, attempt: int, root: Path) -> PodFacts:
        """One attempt from stage to collect. Raises TooLarge, ConfigError."""
        pod = self._make_pod(found, attempt, root)
        times = Times(admitted=self._run.metadata.creation_timestamp)
        status = JobRunStatus(attempt=attempt, function_revision=found.revision, times=times)
        containers: dict[str, ContainerFacts] = {}
        if p.STAGE in pod.containers:
            self._change(status, Phase.STAGING)
            containers[p.STAGE] = await pod.run(p.STAGE, self._tell)
            if containers[p.STAGE].failed:
                return self._facts(containers)
        if self._cancelled is not None:
            return self._facts({p.MAIN: ContainerFacts(p.MAIN, exit_code=p.EXIT_TERMINATED)})
        self._change(status, Phase.RUNNING)
        collecting = asyncio.create_task(pod.run(p.COLLECT, self._tell)) if p.COLLECT in pod.containers else None
        containers[p.MAIN] = await pod.run(p.MAIN, self._listener.log)
        if collecting is not None:
            self._change(status, Phase.UPLOADING)
            if not pod.has_begun():
                pod.stop()  # collect would wait for a main that never comes
            containers[p.COLLECT] = await collecting
        return self._facts(containers)

    def _facts(self, containers: dict[str, ContainerFacts]) -> PodFacts:
        for facts in containers.values():
            if facts.exit_code == p.EXIT_RUNTIME_ERROR and facts.name != p.MAIN:
                for line in self._said:
                    self._listener.warn(line)
        phase = "Failed" if any(facts.failed for facts in containers.values()) else "Succeeded"
        return PodFacts(self._run.metadata.name, phase, self._run.metadata.creation_timestamp, containers=containers)

    def _change(self, status: JobRunStatus, phase: Phase) -> None:
        self._run = self._run.model_copy(update={"status": status.model_copy(update={"phase": phase})})
        self._listener.changed(self._run)

    def _tell(self, line: bytes) -> None:
        self._said.append(line.decode(errors="replace"))
        self._listener.detail(self._said[-1])

    def _warn_of(self, found: Resolved) -> None:
        spec = found.run.spec
        unused = [type(spec).model_fields[name].alias or name for name in CLUSTER_ONLY if getattr(spec, name)]
        if unused:
            self._listener.warn(f"without effect on this machine: {', '.join(unused)}")


def _forget(uid: str, folders: Iterable[Path]) -> None:
    """Removes the run's records of publishing: no attempt comes any more that would look for them."""
    for folder in folders:
        runs = folder / ".millrace" / "runs"
        shutil.rmtree(runs / uid, ignore_errors=True)
        with suppress(OSError):  # others are in it, or there are none
            runs.rmdir()
            runs.parent.rmdir()


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder for the run, gone at the end whatever modes user code has given to what is in it."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-"))
    try:
        yield folder
    finally:
        for above, names, _ in os.walk(folder):
            for name in names:
                path = Path(above, name)
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(folder)
