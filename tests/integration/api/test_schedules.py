"""Schedules: the API server's own validation takes every CronJob that we make, and our schema refuses the rest."""

from __future__ import annotations

from zoneinfo import available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.expressions import EXPRESSIONS, LATER, REFUSED, TAKEN
from fixtures.objects import SETTINGS, metadata
from integration.api.objects import NAMESPACE
from integration.api.scratch import Scratch
from millrace.api.base import Metadata
from millrace.api.schedule import GRAMMAR, Schedule
from millrace.build.cronjob import cron_job
from millrace.domain.cron import CronRejected, parse
from support.apiserver import ApiServer, Object, Refused


def taken(api: ApiServer, schedule: Schedule, name: str = "report") -> Object:
    """What the API server makes of the CronJob's spec, without keeping it; raises Refused."""
    meta = metadata(name, "deployment-uid") | {"namespace": NAMESPACE}
    manifest = cron_job(Metadata.model_validate(meta), schedule, SETTINGS, ended=False)
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/cronjobs"
    found: Object = api.admin.request("POST", path, manifest, dryRun="All", fieldValidation="Strict")["spec"]
    return found


@pytest.mark.parametrize("cron", TAKEN)
def test_the_api_server_takes_the_cronjob_of_what_we_take(api: ApiServer, cron: str) -> None:
    assert taken(api, Schedule(cron=cron))["schedule"] == cron


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cron=EXPRESSIONS)
def test_our_grammar_is_no_wider_than_that_of_cronjobs(api: ApiServer, cron: str) -> None:
    try:
        parse(cron)
    except CronRejected:
        return
    assert taken(api, Schedule(cron=cron))["schedule"] == cron


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(zone=st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})))
def test_it_knows_the_zones_that_we_know(api: ApiServer, zone: str) -> None:
    assert taken(api, Schedule(cron="0 0 * * *", time_zone=zone))["timeZone"] == zone


def test_a_name_of_any_length_is_one_of_a_cronjob(api: ApiServer) -> None:
    assert taken(api, Schedule(cron="0 0 * * *"), ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61]))


@pytest.fixture(scope="module")
def schedules(api: ApiServer) -> Scratch:
    return Scratch(api, Schedule)


@pytest.mark.parametrize("cron", [*TAKEN, *sorted(LATER)])
def test_the_schema_takes_what_has_the_form(schedules: Scratch, cron: str) -> None:
    assert schedules.take(cron=cron) == {"cron": cron}


@pytest.mark.parametrize("cron", sorted(set(REFUSED) - LATER - {""}))
def test_the_schema_refuses_the_rest_with_the_grammar(schedules: Scratch, cron: str) -> None:
    with pytest.raises(Refused) as refused:
        schedules.take(cron=cron)
    assert refused.value.status == 422
    assert "spec.cron" in refused.value.message
    assert GRAMMAR in refused.value.message


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({"cron": ""}, "spec.cron", "at least 1 chars long"),
        ({"timeZone": "../etc/passwd"}, "spec.timeZone", "should match"),
        ({"timeZone": ""}, "spec.timeZone", "at least 1 chars long"),
        ({"startTime": "tomorrow"}, "spec.startTime", "date-time"),
        (
            {"startTime": "2027-01-01T00:00:00Z", "endTime": "2027-01-01T01:00:00+02:00"},
            "spec.endTime",
            "endTime must be after startTime",
        ),
        ({"excludeWeekdays": ["Saturday"]}, "spec.excludeWeekdays[0]", "Unsupported value"),
        ({"excludeWeekdays": ["Sat", "Sat"]}, "spec.excludeWeekdays[1]", "Duplicate value"),
        ({"excludeWeekdays": ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]}, "spec.excludeWeekdays", "at most 6 items"),
        ({"missedRuns": "Some"}, "spec.missedRuns", "Unsupported value"),
        ({"missedRunsLimit": 3}, "spec.missedRunsLimit", "missedRunsLimit goes with missedRuns: All only"),
        ({"missedRuns": "All", "missedRunsLimit": 101}, "spec.missedRunsLimit", "less than or equal to 100"),
    ],
)
def test_the_schema_refuses_by_the_field(schedules: Scratch, fields: Object, field: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        schedules.take(**{"cron": "0 0 * * *", **fields})
    assert field in refused.value.message
    assert why in refused.value.message


def test_the_schema_takes_all_fields(schedules: Scratch) -> None:
    spec = {
        "cron": "30 8 1-15 jan-mar,Dec MON-fri",
        "timeZone": "America/Argentina/ComodRivadavia",
        "startTime": "2027-01-01T00:00:00Z",
        "endTime": "2027-01-01T00:00:00-01:00",
        "excludeWeekdays": ["Sat", "Sun"],
        "suspend": True,
        "missedRuns": "All",
        "missedRunsLimit": 100,
    }
    assert schedules.take(**spec) == spec
