"""Who waits for a slot of which Deployment, and who holds one: kept with each change, so that no decision looks at all runs.

A run is known here by its name as a label's value, which is what Jobs and pods have of it; a Deployment likewise.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

from millrace.domain.names import label_value
from millrace.domain.queue import Line, Place
from millrace.domain.reasons import Reason

Group = tuple[str, str]  # namespace, Deployment
# What blocks all runs of a Deployment alike. They keep their places: else, where these come at the same time as the thing
# that was missing, those that are looked at first would be started first.
OF_ALL = {
    Reason.DEPLOYMENT_NOT_FOUND,
    Reason.FUNCTION_NOT_FOUND,
    Reason.MAPPING_REJECTED,
    Reason.INPUTS_NOT_MAPPED,
    Reason.OUTPUTS_NOT_MAPPED,
}


def deployment_of(run: dict[str, Any]) -> Group | None:
    """The Deployment that a JobRun is of."""
    named = run["spec"].get("deploymentRef")
    return (run["metadata"]["namespace"], label_value(named["name"])) if named else None


def place_of(run: dict[str, Any]) -> Place:
    """The place of a JobRun when it asks for a slot."""
    meta = run["metadata"]
    return Place(-run["spec"].get("priority", 0), meta["creationTimestamp"], meta["name"])


def asks(run: dict[str, Any]) -> bool:
    """Whether a JobRun asks for a slot. One that was not looked at yet may, so nobody overtakes it."""
    meta, spec, status = run["metadata"], run["spec"], run["status"]
    phase = status.get("phase")
    blocked = phase == "Blocked" and status.get("reason") in OF_ALL
    queued = phase == "Queued" and status.get("reason") != Reason.AWAITING_ADMISSION  # by Kueue: that one has its slot
    waits = phase is None or queued or blocked or (phase == "Pending" and not status.get("jobName"))
    return waits and not (spec.get("suspend") or spec.get("cancel") or "deletionTimestamp" in meta)


def is_due(run: dict[str, Any]) -> bool:
    """Whether a run that asks for a slot takes a free one as soon as it is looked at, as far as is known.

    Who comes after it lets it go first. One that is held up by something of its own, which may last, holds up nobody.
    """
    status = run["status"]
    return status.get("phase") in {None, "Queued"} or status.get("reason") == Reason.DEPLOYMENT_NOT_FOUND


class Lines:
    """The queues of all Deployments."""

    def __init__(self) -> None:
        self.names: dict[Group, str] = {}  # of Deployments, where a label has no room for them
        self.moved: dict[Group, str] = {}  # when a run was last admitted or over, RFC 3339 in UTC, which sorts as text
        self._waiting: defaultdict[Group, list[Place]] = defaultdict(list)
        self._places: defaultdict[Group, dict[str, Place]] = defaultdict(dict)
        self._due: defaultdict[Group, list[Place]] = defaultdict(list)  # those of them that are
        self._holders: defaultdict[Group, set[str]] = defaultdict(set)
        self._starting: defaultdict[Group, dict[str, Place]] = defaultdict(dict)

    def set_place(self, group: Group, run: str, place: Place | None, *, due: bool = True) -> None:
        """The run waits at that place; or, with None, it does not."""
        known = self._places[group].pop(run, None)
        waiting, all_due = self._waiting[group], self._due[group]
        if known:
            del waiting[bisect_left(waiting, known)]
            if known in all_due[(index := bisect_left(all_due, known)) : index + 1]:
                del all_due[index]
        if place:
            insort(waiting, place)
            self._places[group][run] = place
            if due:
                insort(all_due, place)
        elif not waiting:
            del self._waiting[group], self._places[group], self._due[group]

    def set_moved(self, group: Group, times: dict[str, Any]) -> None:
        """A run with these times is there."""
        last = max(times.get("admitted", ""), times.get("finished", ""))
        self.moved[group] = max(self.moved.get(group, ""), last)

    def set_holder(self, group: Group, run: str, *, holds: bool) -> None:
        """Whether a Job or a pod of the run is not over."""
        _keep(self._holders, group, run, there=holds)

    def set_starting(self, group: Group, run: str, place: Place | None) -> None:
        """Where the run stands whose Job is being made: until the answer is in it may be there, and holds its slot."""
        if place:
            self._starting[group][run] = place
        elif group in self._starting:
            self._starting[group].pop(run, None)

    def forget_starting(self) -> None:
        """What was under way is not any more."""
        self._starting.clear()

    def groups(self) -> list[Group]:
        """The Deployments for which runs wait."""
        return list(self._waiting)

    def busy(self, group: Group) -> set[str]:
        """The runs that hold a slot."""
        return self._holders.get(group, set()) | self._starting.get(group, {}).keys()

    def line(self, group: Group, run: str, place: Place) -> Line:
        """The queue as the run sees it, which asks for a slot at that place."""
        waiting = self._waiting.get(group, [])
        busy = self.busy(group) - {run}
        # Those whose Job is there already, and whose status does not say so yet.
        known = self._places.get(group, {})
        begun = sorted(known[other] for other in busy if other in known)

        def ahead_of(bound: tuple[Any, ...]) -> int:
            return bisect_left(waiting, bound) - bisect_left(begun, bound)

        ahead, others = ahead_of(place), len(waiting) - len(begun)
        first = self._first_due(group, busy)
        return Line(
            running=len(busy),
            ahead=ahead,
            waiting=others + (run not in known),
            lower=others - ahead_of((place.rank + 1,)),
            older=ahead - ahead_of((place.rank,)),
            held=(first is not None and first < place) or any(other < place for other in self._under_way(group, run)),
        )

    def _first_due(self, group: Group, busy: set[str]) -> Place | None:
        """Who takes the next slot."""
        return next((due for due in self._due.get(group, ()) if label_value(due.name) not in busy), None)

    def _under_way(self, group: Group, run: str | None = None) -> Iterator[Place]:
        """Those whose Job is being made, without that run."""
        holders = self._holders.get(group, set())
        return (place for other, place in self._starting.get(group, {}).items() if other != run and other not in holders)

    def upcoming(self, group: Group, slots: int) -> Iterator[str]:
        """Names of those to be looked at when so many slots are free, in their order.

        Jobs are made one after the other: they end with the first that is due, and before whoever comes after a run whose
        Job is being made. To look at all that have a slot with each change would be as many passes as there are slots.
        """
        busy, begun = self.busy(group), min(self._under_way(group), default=None)
        first = self._first_due(group, busy)
        waiting = (place for place in self._waiting.get(group, ()) if label_value(place.name) not in busy)
        for place in islice(waiting, slots):
            if (begun and begun < place) or (first and first < place):
                return
            yield place.name

    def queue(self, group: Group) -> Iterator[str]:
        """Names of those that wait and hold no slot, in their order."""
        busy = self.busy(group)
        return (place.name for place in self._waiting.get(group, ()) if label_value(place.name) not in busy)

    def __contains__(self, group: Group) -> bool:
        return group in self._waiting


def _keep(groups: defaultdict[Group, set[str]], group: Group, run: str, *, there: bool) -> None:
    if there:
        groups[group].add(run)
    elif group in groups:
        groups[group].discard(run)
        if not groups[group]:
            del groups[group]
