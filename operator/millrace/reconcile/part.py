"""What one side of an object asks for; the reconciliation of the object puts its parts together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from millrace.domain.conditions import Mark
from millrace.domain.obstacle import Obstacle
from millrace.reconcile.plan import Action


class Part(NamedTuple):
    """Actions, fields of the status, when to look again (seconds), why the object is not Ready, further conditions.

    What is done `before` the status is written has been done when the status says so; the other actions follow it.
    """

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] = {}
    again: float | None = None
    obstacle: Obstacle | None = None
    before: tuple[Action, ...] = ()
    marks: tuple[Mark, ...] = ()
