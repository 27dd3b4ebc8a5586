"""What a reconciliation wants done, as data. Only reconcile/execute.py does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from millrace.domain.shards import Shards

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Create:
    """POST under a fixed name. Where it exists it counts as made only if its controller's UID is ours.

    A refusal is learned about the owner or, where that is another object's affair too, about the one with the UID `tell`.
    Where somebody else's object has the name, `taken` is said, and the plan goes on without.
    """

    manifest: Manifest
    tell: str | None = None
    taken: Emit | None = None


@dataclass(frozen=True)
class CreateUnowned:
    """POST an object that nobody owns. Where its name is taken, what is there is read, and another decision follows.

    A refusal is learned about the object with the UID `tell`.
    """

    manifest: Manifest
    tell: str


@dataclass(frozen=True)
class CreateNextAttempt:
    """POST the Job of a further attempt, made from the previous attempt's Job; `charged` of those before it were.

    `shards`: what it is to know of them, where it is one at shards.
    """

    namespace: str
    previous: str
    run: str
    owner: str
    attempt: int
    charged: int = 0
    shards: Shards | None = None


@dataclass(frozen=True)
class Apply:
    """Server-side apply. A refusal is learned about the object with the UID `tell`."""

    manifest: Manifest
    tell: str | None = None


@dataclass(frozen=True)
class EndJob:
    """Suspends a Job for good, so that its pod is ended with its grace, and notes why on it."""

    namespace: str
    name: str
    uid: str
    reason: str
    message: str


@dataclass(frozen=True)
class StartJob:
    """Starts a Job that is suspended. `parked`: it was made for no pod, and is for one from now on."""

    namespace: str
    name: str
    uid: str
    parked: bool = False


@dataclass(frozen=True)
class Delete:
    """Deletes an object that we made, under its UID."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class PatchStatus:
    """Merge-patches the status of an object, unless it has changed since it was read."""

    kind: str
    namespace: str
    name: str
    resource_version: str
    status: Manifest


@dataclass(frozen=True)
class Emit:
    """A Kubernetes Event about an object."""

    kind: str
    namespace: str
    name: str
    uid: str
    warning: bool
    reason: str
    message: str


@dataclass(frozen=True)
class LookForJob:
    """Reads a Job that the store misses: it may be ahead of our watch, or gone."""

    namespace: str
    name: str
    owner: str


@dataclass(frozen=True)
class LookForDeployment:
    """Reads a Deployment that the store misses: before a run of it is ended it must be sure that it is gone."""

    namespace: str
    name: str
    uid: str
    run: str  # UID


@dataclass(frozen=True)
class LookForEvents:
    """Reads the Events of a Job without a pod, or of a pod without a container: what is wrong stands nowhere else."""

    namespace: str
    name: str
    uid: str
    owner: str


@dataclass(frozen=True)
class LookForAssets:
    """Reads all DataAssets of a namespace: before data is deleted a store that may be behind is not enough."""

    namespace: str
    owner: str


Action = (
    Create
    | CreateUnowned
    | CreateNextAttempt
    | Apply
    | EndJob
    | StartJob
    | Delete
    | PatchStatus
    | Emit
    | LookForJob
    | LookForDeployment
    | LookForEvents
    | LookForAssets
)


@dataclass(frozen=True)
class Plan:
    """Actions in their order, and when to look again (seconds), if a deadline or a retry asks for it."""

    actions: tuple[Action, ...] = ()
    again: float | None = None


NOTHING = Plan()


@dataclass(frozen=True)
class Learned:
    """What live reads and refused writes have told about an object; kept in memory only, it can be learned again."""

    absent_jobs: frozenset[str] = frozenset()
    absent_deployment: str | None = None  # UID
    refusal: tuple[int, str, float] | None = None  # HTTP status (409: the name is not free yet), message, time (Unix)
    taken: str | None = None  # a name that somebody else's object has
    assets: float | None = None  # when the DataAssets of the namespace were read (Unix)
    events: tuple[str, str, str, float] | None = None  # UID looked at, reason ("": none), message, time of the look (Unix)
