"""What follows a failed attempt: pure."""

from __future__ import annotations

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


def may_retry(failure: Failure, attempt: int, charged: int, retries: int) -> bool:
    """Whether another attempt follows the failure of `attempt`, when `charged` of those before it were charged.

    Disruptions are not charged, but ten of them are enough: a run that provokes evictions would loop for ever.
    """
    charged += failure.charged
    return failure.again and charged <= retries and attempt - charged <= MAX_DISRUPTIONS
