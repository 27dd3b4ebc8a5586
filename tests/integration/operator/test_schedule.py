"""Schedules on a real API server, without the CronJob controller: what is due is decided by us.

Time is moved by the watermark: a yearly schedule that is settled up to the middle of some year has missed what came since.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from integration.operator.kubelet import Pod
from integration.operator.rig import Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer, Object

YEAR = datetime.now(UTC).year
YEARLY = "0 0 1 1 *"
NAMES = [f"d-{year}01010000" for year in (YEAR - 2, YEAR - 1, YEAR)]


def periodic(rig: Rig, cron: str = YEARLY, name: str = "d", **schedule: object) -> None:
    rig.deployment(name, executionRule="periodic", schedule={"cron": cron, **schedule})


def status(rig: Rig, name: str = "d") -> Object:
    found: Object = rig.api.get("deployments", rig.namespace, name).get("status", {})
    return found


def ready(rig: Rig, name: str = "d") -> str:
    conditions = {found["type"]: found for found in status(rig, name).get("conditions", [])}
    return conditions["Ready"]["reason"] if "Ready" in conditions else ""


def clock(rig: Rig) -> Object | None:
    return rig.api.find("cronjobs", rig.namespace, "d")


def watched(rig: Rig) -> None:
    """Waits until the schedule is settled for the first time, and has its CronJob."""
    patiently("the schedule is settled", lambda: status(rig).get("schedule", {}).get("next"))
    patiently("the CronJob", lambda: clock(rig))


def three_years_pass(rig: Rig) -> None:
    rig.api.merge(
        "deployments/status", rig.namespace, "d", {"status": {"schedule": {"since": f"{YEAR - 3}-06-01T00:00:00Z"}}}
    )


def settled(rig: Rig) -> None:
    patiently("all is settled", lambda: status(rig)["schedule"]["since"] == f"{YEAR}-01-01T00:00:00Z")


def runs(rig: Rig) -> list[str]:
    return sorted(run["metadata"]["name"] for run in rig.api.list("jobruns", rig.namespace))


def posts(rig: Rig) -> list[str]:
    """Names of the runs that the operator has made, in their order."""
    return [
        request.object["metadata"]["name"]
        for request in rig.proxy.log
        if (request.verb, request.resource, request.status) == ("create", "jobruns", 201)
    ]


def events(rig: Rig, reason: str) -> list[str]:
    found = rig.api.list("events", rig.namespace, fieldSelector=f"involvedObject.name=d,reason={reason}")
    return [event["message"] for event in found]


@pytest.mark.parametrize(
    ("missed", "made", "told"),
    [
        (None, [], f"from {YEAR - 2}-01-01T00:00:00Z to {YEAR}-01-01T00:00:00Z (spec.schedule.missedRuns: Skip)"),
        ("Latest", NAMES[2:], f"from {YEAR - 2}-01-01T00:00:00Z to {YEAR - 1}-01-01T00:00:00Z"),
        ("All", NAMES, None),
    ],
)
def test_what_was_due_while_the_operator_was_away_is_made_as_missed_runs_says(
    api_server: ApiServer, missed: str | None, made: list[str], told: str | None
) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig, **({"missedRuns": missed} if missed else {}))
        watched(rig)
        rig.kill()
        three_years_pass(rig)
        rig.start()
        settled(rig)
        assert posts(rig) == made
        assert runs(rig) == made
        uid = rig.api.get("deployments", rig.namespace, "d")["metadata"]["uid"]
        for name in made:
            run = rig.api.get("jobruns", rig.namespace, name)
            [owner] = run["metadata"]["ownerReferences"]
            assert (owner["uid"], owner["controller"]) == (uid, True)
            assert run["metadata"]["annotations"]["millrace.dev/scheduled-at"] == f"{name[2:6]}-01-01T00:00:00Z"
            assert run["spec"] == {"deploymentRef": {"name": "d"}}
        found = events(rig, "RunsMissed")
        assert [told in message for message in found] == [True] if told else found == []
        assert status(rig)["schedule"].get("last") == (f"{YEAR}-01-01T00:00:00Z" if made else None)
        for name in made[:2]:
            rig.job(name)  # they are runs as any other: two at a time
        for name in made:
            rig.api.delete("jobruns", rig.namespace, name)
        rig.kill()
        rig.start()
        patiently("it has looked at it", lambda: rig.proxy.watches("deployments"))
        rig.run("later")
        rig.job("later")
        assert runs(rig) == ["later"], "a run that was deleted is not made again"


def test_a_tick_has_one_run_whatever_becomes_of_the_writes(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig, missedRuns="All")
        watched(rig)
        rig.proxy.rule(proxy.drop_response(), "POST", r"/jobruns\?")
        lost = rig.proxy.rule(proxy.drop_before(), "PATCH", r"/deployments/d/status")
        three_years_pass(rig)
        patiently("a status write is lost", lambda: lost.hits)
        rig.kill()
        rig.start()
        settled(rig)
        assert posts(rig) == NAMES
        assert runs(rig) == NAMES


def test_a_run_of_that_name_that_is_somebody_elses_is_left_alone_and_told(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run(NAMES[1], parameters={"x": 1})
        periodic(rig, missedRuns="All")
        watched(rig)
        before = rig.api.get("jobruns", rig.namespace, NAMES[1])
        three_years_pass(rig)
        settled(rig)
        assert posts(rig) == [NAMES[0], NAMES[2]]
        after = rig.api.get("jobruns", rig.namespace, NAMES[1])
        assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])
        assert "ownerReferences" not in after["metadata"]
        [message] = events(rig, "NameTaken")
        assert f"due at {YEAR - 1}-01-01T00:00:00Z: JobRun {NAMES[1]} exists and is not of this Deployment" in message


def test_while_no_run_could_start_there_is_no_clock_and_nothing_is_made_up_for(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        periodic(rig, missedRuns="All")
        patiently("the Function is missed", lambda: ready(rig) == "FunctionNotFound")
        found = status(rig)["schedule"]
        assert (found["humanReadable"], found["next"]) == ("At 00:00, on day 1 of the month, only in January", [])
        assert clock(rig) is None
        three_years_pass(rig)
        rig.function()
        patiently("it is ready", lambda: ready(rig) == "Valid")
        watched(rig)
        assert len(status(rig)["schedule"]["next"]) == 5
        rig.api.delete("functions", rig.namespace, "f")
        patiently("the CronJob goes", lambda: clock(rig) is None)
        rig.function()
        watched(rig)
        # By hand again; and one that never comes.
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"schedule": {"cron": "0 0 31 2 *"}}})
        patiently("it is told", lambda: ready(rig) == "ScheduleInvalid")
        assert "never comes" in str(status(rig)["conditions"])
        assert "schedule" not in status(rig)
        patiently("the CronJob goes", lambda: clock(rig) is None)
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"schedule": {"cron": YEARLY}}})
        watched(rig)
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"executionRule": "manual", "schedule": None}})
        patiently("the CronJob goes", lambda: clock(rig) is None)
        patiently("and its status", lambda: "schedule" not in status(rig))
        assert runs(rig) == []


def test_neither_an_edit_nor_a_resume_fires_the_past(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig, missedRuns="All")
        watched(rig)
        for change in ({"suspend": True}, {"suspend": False}, {"timeZone": "Europe/Berlin"}):
            rig.kill()
            three_years_pass(rig)
            rig.api.merge("deployments", rig.namespace, "d", {"spec": {"schedule": change}})
            rig.start()
            patiently("it is settled anew", lambda: status(rig)["schedule"]["since"] > f"{YEAR}-01-01T00:00:00Z")
        assert runs(rig) == []
        spec = (clock(rig) or {})["spec"]
        assert (spec["suspend"], spec["timeZone"]) == (False, "Europe/Berlin")


def test_the_clock_is_kept_as_it_should_be_and_a_settled_pass_writes_nothing(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig)
        watched(rig)
        changed = lambda: (clock(rig) or {}).get("spec", {})  # noqa: E731
        rig.api.merge("cronjobs", rig.namespace, "d", {"spec": {"suspend": True, "schedule": "* * * * *"}})
        patiently("it is put right", lambda: (changed().get("suspend"), changed().get("schedule")) == (False, YEARLY))
        uid = (clock(rig) or {})["metadata"]["uid"]
        rig.api.delete("cronjobs", rig.namespace, "d")
        patiently("it is made again", lambda: (clock(rig) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid)
        # A tick of it: the CronJob controller would make this Job.
        found = clock(rig)
        assert found
        owner = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": "d",
            "uid": found["metadata"]["uid"],
            "controller": True,
        }
        meta = {"name": "d-1", "namespace": rig.namespace, "labels": found["metadata"]["labels"], "ownerReferences": [owner]}
        template = found["spec"]["jobTemplate"]
        rig.api.create("jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template["spec"]})
        patiently("the token goes", lambda: rig.api.find("jobs", rig.namespace, "d-1") is None)
        assert runs(rig) == [], "it says when to look, not what is due"
        before = len(rig.proxy.log)
        rig.api.merge("deployments", rig.namespace, "d", {"metadata": {"labels": {"touched": "yes"}}})
        rig.run("later")
        rig.job("later")
        written = [
            r for r in rig.proxy.log[before:] if r.resource.startswith(("deployments", "cronjobs")) and r.verb == "patch"
        ]
        assert written == []


def test_a_cronjob_of_that_name_that_is_somebody_elses_is_left_alone(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        container = {"name": "c", "image": "registry.test/x:1"}
        pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        spec = {"schedule": "@yearly", "jobTemplate": {"spec": {"template": pod}}}
        foreign = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "d"}, "spec": spec}
        before = rig.api.create("cronjobs", rig.placed(foreign))
        periodic(rig)
        patiently("it is told", lambda: ready(rig) == "NameTaken")
        assert "CronJob d exists and is not of Deployment d; remove it" in str(status(rig)["conditions"])
        assert clock(rig) == before
        rig.api.delete("cronjobs", rig.namespace, "d")
        patiently("it is ready", lambda: ready(rig) == "Valid")
        watched(rig)


def test_a_run_that_is_refused_is_told_and_made_when_it_is_let_in(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig, missedRuns="Latest")
        watched(rig)
        rig.proxy.rule(proxy.answer(403, "Forbidden"), "POST", r"/jobruns\?", times=2)
        three_years_pass(rig)
        patiently("it is told", lambda: ready(rig) == "Forbidden")
        settled(rig)
        assert ready(rig) == "Valid"
        assert runs(rig) == NAMES[2:]


def test_runs_that_we_made_go_with_their_deployment_and_those_of_users_stay(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig, missedRuns="Latest")
        watched(rig)
        three_years_pass(rig)
        settled(rig)
        rig.run_by("d", "own")
        for name in (NAMES[2], "own"):
            Pod(rig, name).scheduled().running().write()
            rig.phase(name, "Running")
        rig.api.delete("deployments", rig.namespace, "d")
        patiently("ours is gone", lambda: runs(rig) == ["own"])
        assert rig.phase("own", "Failed")["failure"]["reason"] == "DeploymentNotFound"
        patiently("the CronJob is gone", lambda: clock(rig) is None)
        patiently("so are its Jobs", lambda: not rig.jobs(NAMES[2]))


@pytest.mark.slow
def test_each_minute_has_a_run_also_without_the_clusters_clock(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        periodic(rig, "* * * * *")
        watched(rig)
        first = status(rig)["schedule"]["next"][0]
        patiently("a run", lambda: posts(rig))
        seconds = time.time() - datetime.fromisoformat(first).timestamp()
        assert posts(rig) == [datetime.fromisoformat(first).strftime("d-%Y%m%d%H%M")]
        assert seconds < 20, "it is made when it is due"
        patiently("it is told", lambda: status(rig)["schedule"].get("last") == first)
