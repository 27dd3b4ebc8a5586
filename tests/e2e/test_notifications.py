"""A web address is told what becomes of runs: at least once, under one id, whatever befalls the pod that tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import receiver
from support.cluster import Namespace, Object, condition, deployment, deployment_run, function
from support.server import serve
from support.store import secret
from support.waiting import wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs" / "notifications.md"
CODE = """
def main(fails=False):
    if fails:
        raise ValueError("as asked")
"""


def install(namespace: Namespace) -> None:
    """A pod that is told, under its Service `receiver`."""
    program = {"receiver.py": Path(receiver.__file__).read_text()}
    namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "receiver"}, "data": program})
    serve(
        namespace,
        "receiver",
        {"/receiver": {"configMap": {"name": "receiver"}}},
        port=8080,
        served_at=80,
        command=["python3", "-u", "/receiver/receiver.py", "8080"],
    )


def url(namespace: Namespace, path: str) -> str:
    return f"http://receiver.{namespace.name}.svc.cluster.local{path}"


def told(namespace: Namespace, path: str) -> list[Object]:
    """What came to a path, the oldest first."""
    lines = map(json.loads, namespace.kubectl("logs", "receiver").splitlines())
    return [line for line in lines if line.get("path") == path]


def deploy(namespace: Namespace, *entries: Object, **spec: Any) -> None:
    namespace.apply(function("f", CODE), deployment("d", "f", notifications=list(entries), **spec))


def entry(name: str, *on: str, **fields: Any) -> Object:
    return {"on": list(on), "urlSecretRef": {"name": name, "key": "url"}, **fields}


def end_one(namespace: Namespace, path: str) -> None:
    """The run `one` succeeds, which that path is told of."""
    install(namespace)
    namespace.apply(secret("hook", url=url(namespace, path)))
    deploy(namespace, entry("hook", "Succeeded"))
    namespace.apply(deployment_run("one", "d"))
    namespace.finished("one")


def settled(namespace: Namespace, run: str) -> list[Object]:
    """What became of a run's transitions, once none is to be told any more."""

    def look() -> list[Object] | None:
        found = namespace.status(run).get("notifications", {})
        return found.get("told") if found.get("pending") == [] else None

    return wait_for(f"all of {run} is told", look, seconds=120)


def jobs(namespace: Namespace) -> list[Object]:
    return [job for job in namespace.list("jobs") if "millrace.dev/notifies" in job["metadata"].get("annotations", {})]


def test_each_end_is_told_once_in_the_form_that_is_asked_for_and_nothing_is_left(namespace: Namespace) -> None:
    install(namespace)
    namespace.apply(secret("hook", url=url(namespace, "/200?cloud")), secret("chat", url=url(namespace, "/200?slack")))
    deploy(namespace, entry("hook", "Succeeded", "Failed"), entry("chat", "Failed", format="slack"))
    namespace.apply(deployment_run("good", "d"), deployment_run("bad", "d", parameters={"fails": True}))
    for run in ("good", "bad"):
        namespace.finished(run)
    assert [each["result"] for run in ("good", "bad") for each in settled(namespace, run)] == ["Sent"] * 3
    events = {line["body"]["subject"]: line for line in told(namespace, "/200?cloud")}
    assert len(told(namespace, "/200?cloud")) == 2
    bad = namespace.run("bad")
    assert events["bad"]["type"] == "application/cloudevents+json; charset=utf-8"
    body = events["bad"]["body"]
    assert (body["specversion"], body["id"]) == ("1.0", f"{bad['metadata']['uid']}.Failed")
    assert (body["type"], body["time"]) == ("dev.millrace.jobrun.failed", bad["status"]["times"]["finished"])
    assert (body["data"]["reason"], body["data"]["message"]) == ("UserError", bad["status"]["failure"]["message"])
    assert events["good"]["body"]["type"] == "dev.millrace.jobrun.succeeded"
    [line] = told(namespace, "/200?slack")
    assert line["body"] == {"text": f"{namespace.name}/d: bad failed: UserError: {bad['status']['failure']['message']}"}
    wait_for("no Job is left", lambda: not jobs(namespace), seconds=60)
    found = condition(namespace.get("mdep", "d"), "Notified")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "Sent")


def test_a_pod_that_is_killed_while_it_tells_loses_nothing_and_keeps_the_id(namespace: Namespace) -> None:
    end_one(namespace, "/hold/200")
    wait_for("it is told, without an answer", lambda: told(namespace, "/hold/200"), seconds=60)
    [job] = jobs(namespace)
    selector = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
    namespace.kubectl("delete", "pods", "-l", selector, "--grace-period=0", "--force", "--wait=false")
    assert [each["result"] for each in settled(namespace, "one")] == ["Sent"]
    tries = told(namespace, "/hold/200")
    assert [line["answer"] for line in tries] == ["hold", "200"]
    assert {line["body"]["id"] for line in tries} == {f"{namespace.run('one')['metadata']['uid']}.Succeeded"}


def test_a_lost_answer_and_errors_are_tried_again_under_the_same_id(namespace: Namespace) -> None:
    end_one(namespace, "/drop/503/200")
    settled(namespace, "one")
    tries = told(namespace, "/drop/503/200")
    assert [line["answer"] for line in tries] == ["drop", "503", "200"]
    assert len({line["body"]["id"] for line in tries}) == 1


def test_a_missing_secret_and_a_refusal_are_told_and_a_run_waits_for_the_secret(namespace: Namespace) -> None:
    install(namespace)
    namespace.apply(secret("hook", url=url(namespace, "/404/canary-of-a-credential")))
    deploy(namespace, entry("hook", "Succeeded"), entry("later", "Succeeded"))
    namespace.apply(deployment_run("one", "d"))
    namespace.finished("one")

    def messages(reason: str) -> str:
        return "\n".join(event["message"] for event in namespace.list("events") if event["reason"] == reason)

    wait_for("the missing Secret is told", lambda: 'secret "later" not found' in messages("NotificationNotSent"), seconds=90)
    wait_for("the refusal is told", lambda: "hook/url refuses it: HTTP 404" in messages("NotificationRefused"), seconds=90)
    found = condition(namespace.get("mdep", "d"), "Notified")
    assert found is not None
    assert found["status"] == "False"
    namespace.apply(secret("later", url=url(namespace, "/200?later")))
    results = {each["address"]: (each["result"], each.get("message")) for each in settled(namespace, "one")}
    assert results == {"hook/url": ("Refused", "HTTP 404"), "later/url": ("Sent", None)}
    assert len(told(namespace, "/200?later")) == 1
    everything = namespace.kubectl("get", "mdep,jobrun,events,jobs,pods", "-o", "yaml")
    assert "canary-of-a-credential" not in everything


def test_the_example_of_the_page_tells_its_failure(namespace: Namespace) -> None:
    install(namespace)
    _, _, rest = PAGE.read_text().partition("```yaml\n")
    text = rest.partition("```")[0].replace("https://hooks.example.com/services/T0/B0/secret", url(namespace, "/200?page"))
    namespace.kubectl("apply", "-f", "-", stdin=text)
    namespace.finished("division-1")
    assert [each["result"] for each in settled(namespace, "division-1")] == ["Sent"]
    [line] = told(namespace, "/200?page")
    assert line["body"]["data"]["reason"] == "UserError"
