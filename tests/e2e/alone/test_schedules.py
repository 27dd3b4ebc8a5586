"""Schedules with the cluster's own CronJob controller, while the operator is away for two ticks and comes back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from support.cluster import Namespace, condition, deployment, function
from support.host_operator import installed_operator_away
from support.waiting import wait_for

TICK = 60
LIGHT = {"resources": {"requests": {"cpu": "1m", "memory": "16Mi"}}}


def periodic(name: str, cron: str, **schedule: object) -> dict[str, object]:
    return deployment(name, "f", executionRule="periodic", schedule={"cron": cron, **schedule}, template=LIGHT)


def name_of(deployed: str, tick: float) -> str:
    return datetime.fromtimestamp(tick, UTC).strftime(f"{deployed}-%Y%m%d%H%M")


def the_clock_shows(moment: float) -> None:
    """Time has to pass: it is what the test is about."""
    wait_for("the time", lambda: time.time() >= moment, seconds=max(moment - time.time(), 0) + 5, poll=0.5)


def made(namespace: Namespace) -> list[str]:
    return sorted(run["metadata"]["name"] for run in namespace.list("jr"))


def tokens(namespace: Namespace, deployed: str) -> list[str]:
    return [job["metadata"]["name"] for job in namespace.list("jobs", f"millrace.dev/schedule={deployed}")]


def test_each_tick_has_one_run_and_those_of_an_outage_what_missed_runs_says(namespace: Namespace) -> None:
    wait_for("time until the next minute", lambda: time.time() % TICK < TICK - 15)  # both are to have the same first tick
    namespace.apply(
        function("f", "def main(): pass"),
        periodic("all", "* * * * *", missedRuns="All"),
        periodic("latest", "* * * * *", missedRuns="Latest"),
    )

    def first() -> str | None:
        found = (namespace.get("mdep", "all").get("status") or {}).get("schedule") or {}
        return found.get("last")

    tick = datetime.fromisoformat(wait_for("the first run", first, seconds=90)).timestamp()
    wait_for("both have one", lambda: made(namespace) == [name_of("all", tick), name_of("latest", tick)])
    once = datetime.fromtimestamp(tick + TICK, UTC).strftime("%M %H * * *")
    namespace.apply(periodic("skip", once))
    wait_for("its clock", lambda: namespace.find("cronjob", "skip"))
    with installed_operator_away():
        the_clock_shows(tick + 2 * TICK + 10)
        shown = {deployed: tokens(namespace, deployed) for deployed in ("all", "latest", "skip")}
        assert {deployed: len(found) for deployed, found in shown.items()} == {"all": 1, "latest": 1, "skip": 1}
        assert made(namespace) == [name_of("all", tick), name_of("latest", tick)], "nobody makes runs meanwhile"
        assert not [pod for pod in namespace.list("pods") if "millrace.dev/schedule" in pod["metadata"]["labels"]]
    expected = [
        *(name_of("all", tick + passed * TICK) for passed in range(3)),
        name_of("latest", tick),
        name_of("latest", tick + 2 * TICK),
    ]
    wait_for("what was missed is made up for", lambda: set(expected) <= set(made(namespace)), seconds=40)
    if time.time() < tick + 3 * TICK:
        assert made(namespace) == expected
    wait_for("the next ones", lambda: name_of("latest", tick + 3 * TICK) in made(namespace), seconds=90)
    expected = sorted([*expected, *(name_of(deployed, tick + 3 * TICK) for deployed in ("all", "latest"))])
    wait_for("all of them", lambda: made(namespace) == expected)
    for name in expected:
        assert namespace.finished(name)["phase"] == "Succeeded"
        assert len(namespace.list("jobs", f"millrace.dev/jobrun={name}")) == 1
        assert len(namespace.pods(name)) == 1
    for deployed in ("latest", "skip"):
        told = f"involvedObject.name={deployed},reason=RunsMissed"
        events = namespace.kubectl("get", "events", f"--field-selector={told}", "-o", "jsonpath={.items[*].message}")
        missed = datetime.fromtimestamp(tick + TICK, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert events.startswith(f"no run is made of what was due at {missed}"), events
    wait_for("the tokens go", lambda: not any(tokens(namespace, deployed) for deployed in ("all", "latest", "skip")))
    ready = condition(namespace.get("mdep", "all"), "Ready")
    assert ready
    assert ready["status"] == "True"
    row = namespace.kubectl("get", "mdep", "all", "--no-headers").split()
    assert row[1:8] == ["f", "periodic", "*", "*", "*", "*", "*"]
    namespace.delete("mdep", "all")
    left = [name for name in expected if not name.startswith("all-")]
    wait_for("its runs go with it", lambda: [name for name in made(namespace) if not name.startswith("latest-")] == [])
    assert set(left) <= set(made(namespace))
    wait_for("so does its CronJob", lambda: namespace.find("cronjob", "all") is None)
