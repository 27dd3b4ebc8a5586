"""The CronJob of a schedule, beside what its golden files show."""

from __future__ import annotations

import pytest

from fixtures.objects import SETTINGS, metadata
from millrace.api.base import Metadata
from millrace.api.schedule import Schedule
from millrace.build.cronjob import cron_job
from millrace.runtime.store import slot_of


@pytest.mark.parametrize(
    ("suspend", "ended", "expected"), [(False, False, False), (True, False, True), (False, True, True), (True, True, True)]
)
def test_it_follows_suspend_and_the_end(suspend: bool, ended: bool, expected: bool) -> None:
    found = cron_job(
        Metadata.model_validate(metadata("report", "uid")), Schedule(cron="@daily", suspend=suspend), SETTINGS, ended=ended
    )
    assert found["spec"]["suspend"] is expected


@pytest.mark.parametrize("name", ["report", "n" * 52, "n" * 53, "n" * 253])
def test_its_name_leaves_room_for_the_time(name: str) -> None:
    found = cron_job(Metadata.model_validate(metadata(name, "uid")), Schedule(cron="@daily"), SETTINGS, ended=False)
    assert len(found["metadata"]["name"]) == min(len(name), 52)


def test_a_token_holds_no_slot() -> None:
    found = cron_job(Metadata.model_validate(metadata("report", "uid")), Schedule(cron="@daily"), SETTINGS, ended=False)
    template = found["spec"]["jobTemplate"]
    job = {**template, "metadata": {**template["metadata"], "namespace": "tenant", "name": "report-29000000"}}
    assert slot_of("Job", job) is None
