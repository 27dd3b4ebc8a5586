"""Retention of a Deployment: how long what its runs leave behind is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.api.base import Duration, Model, rule, validated


class KeptRuns(Model):
    """How many finished runs are kept, and for how long; what is reached first counts."""

    model_config = validated(rule("has(self.amount) || has(self.age)", "amount, age or both must be set"))

    amount: Annotated[int, Field(ge=0, le=100_000, description="The latest so many are kept.")] | None = None
    age: Duration | None = Field(None, description="Since their end, such as 30d, 12h, 60s.")


class Kept(Model):
    """How long something is kept after the end of its run."""

    age: Duration


class Retention(Model):
    """What goes by itself: runs that the operator made, and what they left in stores. Absent: nothing goes."""

    runs: KeptRuns | None = Field(None, description="Finished runs, and their logs; failed ones too, without failedRuns.")
    failed_runs: KeptRuns | None = None
    logs: Kept | None = Field(None, description="Archived logs, by an age of their own, not with their runs.")
    artifacts: Kept | None = Field(None, description="Outputs in stores. Absent: they are kept, also without their runs.")
