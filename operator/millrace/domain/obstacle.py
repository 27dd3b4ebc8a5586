"""What keeps a run from starting."""

from __future__ import annotations

from typing import NamedTuple


class Obstacle(NamedTuple):
    """Why a run cannot start. `heals`: without a change of the run; `known`: false while we have not looked yet."""

    reason: str
    message: str
    heals: bool = True
    known: bool = True
