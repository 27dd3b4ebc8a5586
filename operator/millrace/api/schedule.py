"""The schedule of a periodic Deployment: when its runs are due."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from millrace.api.base import Model, rule, validated


class CronField(NamedTuple):
    """A field of a cron expression: its values, and names that some of them have (their index counts from `low`)."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    question: bool = False  # whether `?` may stand for `*`


Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    CronField("minute", 0, 59),
    CronField("hour", 0, 23),
    CronField("day of month", 1, 31, question=True),
    CronField("month", 1, 12, MONTHS),
    CronField("day of week", 0, 6, WEEKDAYS, question=True),
)
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
STEP = "/[1-9][0-9]?"


def value_pattern(field: CronField) -> str:
    """What one value of the field looks like: a number of its range, a leading zero allowed, or a name in any case."""
    numbers = [f"0?{number}" if number < 10 else str(number) for number in range(field.low, field.high + 1)]
    names = [f"(?i:{name})" for name in field.names]
    return f"({'|'.join([*numbers, *names])})"


def field_pattern(field: CronField) -> str:
    """What the field looks like: `*`, alone or with a step, or a list of values and ranges."""
    value = value_pattern(field)
    question = r"|\?" if field.question else ""
    item = f"{value}(-{value})?({STEP})?"
    return rf"(\*({STEP})?{question}|{item}(,{item})*)"


CRON = f"^({'|'.join(ALIASES)}|{'[ ]+'.join(map(field_pattern, FIELDS))})$"
GRAMMAR = (
    "cron must be five fields: minute (0-59), hour (0-23), day of month (1-31), month (1-12 or jan-dec), day of week (0-6, "
    "0 is Sunday, or sun-sat); each is *, */STEP, or a list of values, ranges and ranges/STEP; or one of "
    f"{', '.join(ALIASES)}"
)


class Schedule(Model):
    """When runs are due."""

    model_config = validated(
        rule(f"self.cron.matches(r'{CRON}')", GRAMMAR, field=".cron"),
        rule(
            "!has(self.endTime) || !has(self.startTime) || self.startTime < self.endTime",
            "endTime must be after startTime",
            field=".endTime",
        ),
        rule(
            "!has(self.missedRunsLimit) || has(self.missedRuns) && self.missedRuns == 'All'",
            "missedRunsLimit goes with missedRuns: All only",
            field=".missedRunsLimit",
        ),
    )

    cron: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            description="minute, hour, day of month, month, day of week: what the CronJob controller takes as well.",
        ),
    ]
    time_zone: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=64,
                pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$",
                description="A name of the time zone database, such as Europe/Berlin. Etc/UTC if absent.",
            ),
        ]
        | None
    ) = None
    start_time: (
        Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"}, description="No run is due before.")]
        | None
    ) = None
    end_time: (
        Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"}, description="No run is due after.")]
        | None
    ) = None
    exclude_weekdays: Annotated[
        list[Weekday],
        Field(
            max_length=6,
            description="Days, in the schedule's time zone, on which none is due.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = []
    suspend: bool = Field(False, description="None is due. What would have been is not made up for afterwards.")
    missed_runs: Literal["Skip", "Latest", "All"] | None = Field(
        None,
        description="What becomes of runs that were due while the operator was away for more than a minute. Skip if absent: "
        "nothing; Latest: the last one is made; All: each is made, up to missedRunsLimit.",
    )
    missed_runs_limit: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="The latest so many are made. 10 if absent."
    )


class ScheduleStatus(Model):
    """What the operator makes of it."""

    expression: str
    human_readable: str
    time_zone: str
    next: Annotated[list[str], Field(max_length=5, description="When the next runs are due, in UTC.")] = []
    next_local: Annotated[list[str], Field(max_length=5, description="The same in the schedule's time zone.")] = []
    last: str | None = Field(None, description="When the latest run was due.")
    since: str = Field(description="What was due until then is settled.")
    digest: str = Field(description="Of the schedule that `since` belongs to: another one has no past.")
