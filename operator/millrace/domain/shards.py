"""Runs in parts: what of the input is sliced, what an attempt has settled, and when the whole has failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from millrace.api.base import Model
from millrace.api.datastore import DataStore
from millrace.api.jobrun import JobRun
from millrace.domain.attempts import Failure, may_retry
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolved import ResolvedInput
from millrace.protocol import shard_at


class Step(StrEnum):
    """What a parallel run does besides its shards: before them, and after them."""

    PLAN = "plan"
    MERGE = "merge"


class Cause(Model):
    """Why the first shard that has failed for good did so."""

    shard: int
    reason: str
    message: str = ""


class Shards(Model):
    """The annotation of the Job of an attempt at the shards: all of them, or `only` those."""

    count: int
    tolerated: int = 0
    only: list[int] = []
    charged: dict[int, int] = {}  # how many attempts were charged before this one, of shards that have had some
    failed: list[int] = []  # for good, in the attempts before
    cause: Cause | None = None

    @property
    def mine(self) -> list[int]:
        """The shards of this attempt, in the order of its pods' completion indexes."""
        return [shard_at(self.only, position) for position in range(len(self.only) or self.count)]


@dataclass(frozen=True)
class Settled:
    """What follows once all shards of an attempt are over: those that are tried again, else the end."""

    again: Shards | None
    failed: tuple[int, ...]
    cause: Cause | None
    pause: int  # charged attempts that the next one waits for


def numbers(text: str) -> frozenset[int]:
    """The indexes in a Job's status: "0,2-4" is 0, 2, 3 and 4."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def ranges(shards: Sequence[int]) -> str:
    """The other way round, for people: 0, 2-4."""
    found: list[list[int]] = []
    for shard in sorted(shards):
        if found and shard == found[-1][-1] + 1:
            found[-1].append(shard)
        else:
            found.append([shard])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in found)


def settle(shards: Shards, attempt: int, failures: Mapping[int, Failure], retries: int) -> Settled:
    """What becomes of the shards that have failed in an attempt: each has as many retries as a run has."""
    charged = dict(shards.charged)
    again, failed, causes = [], list(shards.failed), [shards.cause] if shards.cause else []
    for shard, failure in sorted(failures.items()):
        if may_retry(failure, attempt, charged.get(shard, 0), retries):
            again.append(shard)
            if failure.charged:
                charged[shard] = charged.get(shard, 0) + 1
        else:
            failed.append(shard)
            causes.append(Cause(shard=shard, reason=failure.reason, message=failure.message[:512]))
    cause = causes[0] if causes else None
    pause = max((charged[shard] for shard in again if failures[shard].charged), default=0)
    kept = {shard: number for shard, number in charged.items() if shard in again}
    following = shards.model_copy(update={"only": again, "charged": kept, "failed": sorted(failed), "cause": cause})
    return Settled(following if again else None, tuple(sorted(failed)), cause, pause)


def sliced_input(
    run: JobRun, inputs: Sequence[ResolvedInput], written: Sequence[DataStore]
) -> ResolvedInput | Obstacle | None:
    """The folder of which each shard gets its part; None: there is none, and each shard gets all inputs.

    `written`: stores of outputs and logs; without any the plan of the shards is kept in that of the folder.
    """
    if run.spec.parallel is None:
        return None
    fitting = [found for found in inputs if _is_sliceable(found)]
    named, names = run.spec.parallel.input, ", ".join(found.input.name for found in fitting)
    if named is None:
        if len(fitting) > 1:
            return _rejected(f"several staged folders ({names}): say which one the shards share out")
        found = fitting[0] if fitting else None
    elif not (found := next((found for found in fitting if found.input.name == named), None)):
        return _rejected(f"{named} is no folder that is staged from a store; those are: {names or 'none'}")
    if found and found.store and not (written or found.store.spec.writable):
        why = f"DataStore {found.store.metadata.name} cannot be written to, and there is no other for the plan of the shards"
        return Obstacle(Reason.DATA_STORE_READ_ONLY, f"spec.parallel: {why}; give the run an output", heals=False)
    return found


def lacks_earlier(run: JobRun, earlier: tuple[str, bool] | None) -> Obstacle | None:
    """What is wrong with the run of which some shards are to be done again; `earlier`: its UID, and whether it is over."""
    named = run.spec.parallel.of if run.spec.parallel else None
    if named is None or (earlier and earlier[1]):
        return None
    why = "is not over" if earlier else "does not exist in this namespace"
    return Obstacle(Reason.PARALLEL_REJECTED, f"spec.parallel.of: JobRun {named} {why}", heals=False)


def rejected_by_kueue(run: JobRun, queue: str | None) -> Obstacle | None:
    """Why a run of that LocalQueue cannot be in shards, if it is to be: Kueue would start them before their plan is over."""
    if queue is None or run.spec.parallel is None:
        return None
    own = run.spec.kueue_queue is not None
    whose = "spec.kueueQueue" if own else "its Deployment's queue.kueueQueue"
    why = f"spec.parallel: Kueue does not admit runs in shards; {whose} is {queue}"
    return Obstacle(Reason.PARALLEL_REJECTED, why, heals=not own)


def _is_sliceable(found: ResolvedInput) -> bool:
    return found.staged and not found.mounted and found.store is not None and found.type == "uri_folder"


def _rejected(why: str) -> Obstacle:
    return Obstacle(Reason.PARALLEL_REJECTED, f"spec.parallel.input: {why}", heals=False)
