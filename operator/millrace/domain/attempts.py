"""What follows a failed attempt: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_DISRUPTIONS = 10


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed. `charged`: it uses up one of the run's retries; `again`: another attempt may help."""

    reason: str
    message: str = ""
    container: str | None = None
    exit_code: int | None = None
    log_tail: str | None = None
    charged: bool = True
    again: bool = True


def may_retry(failures: Sequence[Failure], retries: int) -> bool:
    """Whether another attempt follows these failures, the last of which was just seen.

    Disruptions are not charged, but ten of them are enough: a run that provokes evictions would loop for ever.
    """
    if not failures[-1].again:
        return False
    charged = sum(failure.charged for failure in failures)
    return charged <= retries and len(failures) - charged <= MAX_DISRUPTIONS
