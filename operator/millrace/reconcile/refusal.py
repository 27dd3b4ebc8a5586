"""What the API server said to a POST, as an obstacle: what is refused is tried again, and said meanwhile."""

from __future__ import annotations

from datetime import datetime

from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.reconcile.plan import Learned

REFUSED_SECONDS = 10  # between two POSTs that are refused


def refusal(learned: Learned, now: datetime) -> Obstacle | None:
    """Why a POST was refused; None where it was not, or where it is time to try again."""
    if learned.taken:
        return Obstacle(
            Reason.NAME_TAKEN,
            f"{learned.taken} exists and is not of this run; remove it or give the run another name",
            heals=False,
        )
    if learned.refusal is None:
        return None
    status, message, when = learned.refusal
    if status in {400, 422}:
        return Obstacle(Reason.INVALID_POD_TEMPLATE, message, heals=False)
    if now.timestamp() - when >= REFUSED_SECONDS:
        return None
    if status == 409:
        return Obstacle(Reason.NAME_TAKEN, message)
    return Obstacle(Reason.QUOTA_EXCEEDED if "exceeded quota" in message else Reason.FORBIDDEN, message)
