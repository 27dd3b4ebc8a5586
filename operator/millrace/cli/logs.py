"""`millrace logs`: what a container of the newest attempt of runs wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from millrace.api.jobrun import JobRun
from millrace.cli.cluster import PODS, Cluster
from millrace.cli.errors import OK, Refused
from millrace.cli.explain import explain
from millrace.cli.follow import Follower, read_run
from millrace.cli.progress import Line, exit_code, finished, headline
from millrace.cli.screen import Screen
from millrace.cli.tail import Tail, newest_pod
from millrace.kube.api import ApiError
from millrace.observe.pod import PodFacts


class Wanted(NamedTuple):
    """What of a run's newest attempt is shown."""

    container: str
    tail: int | None
    follows: bool


async def logs(cluster: Cluster, screen: Screen, names: Sequence[str], wanted: Wanted) -> int:
    """Writes the logs of runs: one after the other, or as they come. One that cannot be shown stops no other."""

    async def one(name: str) -> int:
        own = screen.of(name) if len(names) > 1 else screen
        try:
            return await (follow if wanted.follows else show)(cluster, own, name, wanted.container, wanted.tail)
        except Refused as error:
            own.refuse(error)
            return error.code

    codes = await asyncio.gather(*map(one, names)) if wanted.follows else [await one(name) for name in names]
    return next(filter(None, codes), OK)


async def show(cluster: Cluster, screen: Screen, name: str, container: str, tail: int | None) -> int:
    """Writes what is there now."""
    run = await read_run(cluster, name)
    pod = await _pod(cluster, run)
    if not pod.container(container).started:
        raise _not_started(run, pod, container)
    query = {"container": container} | ({"tailLines": str(tail)} if tail is not None else {})
    try:
        async for line in cluster.lines(PODS.path(run.metadata.namespace, pod.name, "log"), query):
            screen.log(line)
    except ApiError as error:
        raise explain(error, f"read the log of {container}") from None
    return OK


async def follow(cluster: Cluster, screen: Screen, name: str, container: str, tail: int | None) -> int:
    """Writes lines as they come, of further attempts too, until the run is over."""
    run = await read_run(cluster, name)
    if finished(run):
        return await show(cluster, screen, name, container, tail)
    said = ""
    job = None
    while not finished(run):
        if run.status.job_name == job:
            if (text := headline(run)) != said and job is None:
                screen.say(Line(text, "dim"))
                said = text
            await asyncio.sleep(0.5)
        else:
            job = run.status.job_name
            assert job is not None
            await _attempt(cluster, screen, run, container, tail)
        run = await read_run(cluster, name)
    screen.say(Line(headline(run), "dim"))
    return OK


async def _attempt(cluster: Cluster, screen: Screen, run: JobRun, container: str, tail_lines: int | None) -> None:
    job = run.status.job_name
    assert job is not None
    tail = Tail(cluster, run.metadata.namespace, job, container, tail_lines=tail_lines)

    async def copy() -> None:
        async for line in tail.lines():
            screen.log(line)

    task = asyncio.create_task(copy())
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=1)
            now = run if task.done() else await read_run(cluster, run.metadata.name)
            if finished(now) or now.status.job_name != job:
                tail.over.set()
        await task
    except ApiError as error:
        raise explain(error, f"read the log of {container}") from None
    finally:
        task.cancel()


async def _pod(cluster: Cluster, run: JobRun) -> PodFacts:
    name, job = run.metadata.name, run.status.job_name
    if job is None:
        after = "it never started" if finished(run) else f"-f waits for it: millrace logs -f {name}"
        raise Refused(f"JobRun {name} has no pod: {headline(run)}", after)
    try:
        pod = await newest_pod(cluster, run.metadata.namespace, job)
    except ApiError as error:
        raise explain(error, f"look for the pod of JobRun {name}") from None
    if pod is not None:
        return pod
    if not finished(run):
        raise Refused(
            f"JobRun {name} has no pod at the moment: {headline(run)}", f"-f waits for it: millrace logs -f {name}"
        )
    if run.status.logs:
        raise Refused(f"the pod of JobRun {name} is gone; its logs are archived", run.status.logs)
    raise Refused(
        f"the pod of JobRun {name} is gone, and its logs were not archived",
        "logs: Archive in the JobRun's spec keeps them in the namespace's default store",
    )


def _not_started(run: JobRun, pod: PodFacts, container: str) -> Refused:
    if container not in pod.containers:
        have = ", ".join(pod.containers) or "none yet"
        return Refused(f"the pod of JobRun {run.metadata.name} has no container {container}; it has {have}")
    state = pod.container(container)
    why = f" ({state.waiting}{': ' + state.message if state.message else ''})" if state.waiting else ""
    hint = "it never did" if finished(run) else f"-f waits for it: millrace logs -f -c {container} {run.metadata.name}"
    return Refused(f"{container} has not started{why}: {headline(run)}", hint)


async def wait(cluster: Cluster, screen: Screen, name: str, limit: float | None) -> int:
    """`millrace wait`: until the run is over."""
    run = await read_run(cluster, name)
    return exit_code((await Follower(cluster, screen, run, logs=False).to_end(limit)).status.phase)


async def cancel(cluster: Cluster, screen: Screen, name: str) -> int:
    """`millrace cancel`: asks for the end of a run; one that is over stays as it is."""
    run = await read_run(cluster, name)
    if finished(run):
        screen.say(Line(f"JobRun {name} is over already: {headline(run)}"))
        return OK
    try:
        await cluster.cancel_run(name)
    except ApiError as error:
        raise explain(error, f"cancel JobRun {name}") from None
    screen.say(Line(f"JobRun {name} is being cancelled; see it end: millrace wait {name} -n {cluster.namespace}"))
    return OK
