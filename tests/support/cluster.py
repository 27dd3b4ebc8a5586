"""The cluster of the tests, by kubectl: what a user has, and no part of what is tested."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from support.waiting import wait_for

Object = dict[str, Any]
API_VERSION = "millrace.dev/v1alpha1"
TERMINAL = {"Succeeded", "Failed", "Cancelled"}


class Refused(Exception):
    """kubectl ended with an error; its text is the message."""


def kubectl(*args: str, stdin: str | None = None, seconds: float = 60, check: bool = True) -> str:
    """Runs kubectl and returns what it prints; raises Refused unless a failure is part of the answer."""
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode and check:
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


@dataclass(frozen=True)
class Namespace:
    """One namespace, and the objects in it."""

    name: str

    def kubectl(self, *args: str, stdin: str | None = None, seconds: float = 60) -> str:
        """kubectl in this namespace."""
        return kubectl("-n", self.name, *args, stdin=stdin, seconds=seconds)

    def apply(self, *objects: Object, server_side: bool = False) -> str:
        """kubectl apply."""
        # JSON: YAML libraries disagree about keys such as y and n.
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self.kubectl("apply", *(["--server-side"] if server_side else []), "-f", "-", stdin=text)

    def get(self, kind: str, name: str) -> Object:
        """The object; raises Refused where it is not."""
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> Object | None:
        """The object, or None."""
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind."""
        args = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.kubectl("get", kind, *args, "-o", "json"))["items"]
        return items

    def delete(self, kind: str, name: str, *args: str) -> None:
        """Deletes an object without waiting for its end."""
        self.kubectl("delete", kind, name, "--wait=false", "--ignore-not-found", *args)

    def patch(self, kind: str, name: str, patch: Object) -> str:
        """kubectl patch, merge."""
        return self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def run(self, name: str) -> Object:
        """A JobRun."""
        return self.get("jobruns.millrace.dev", name)

    def status(self, name: str) -> Object:
        """Status of a JobRun; empty before its first write."""
        found = self.find("jobruns.millrace.dev", name)
        return (found or {}).get("status", {})

    def finished(self, name: str, *, seconds: float = 120) -> Object:
        """Status of a JobRun that is over."""

        def look() -> Object | None:
            status = self.status(name)
            return status if status.get("phase") in TERMINAL else None

        try:
            return wait_for(f"the end of JobRun {self.name}/{name}", look, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\nstatus: {self.status(name)}\n{self.describe_pods(name)}") from None

    def phase(self, name: str, *phases: str, seconds: float = 60) -> Object:
        """Status of a JobRun once it has one of the phases."""

        def look() -> Object | None:
            status = self.status(name)
            return status if status.get("phase") in phases else None

        return wait_for(f"JobRun {name} in {phases}", look, seconds=seconds)

    def pods(self, run: str) -> list[Object]:
        """Pods of a JobRun."""
        return self.list("pods", f"millrace.dev/jobrun={run}")

    def describe_pods(self, run: str) -> str:
        """What a person would look at when a run hangs."""
        return self.kubectl("describe", "pods", "-l", f"millrace.dev/jobrun={run}")

    def main_running(self, run: str, *, seconds: float = 60) -> Object:
        """The pod of a run once its main container runs."""

        def look() -> Object | None:
            for pod in self.pods(run):
                for status in pod["status"].get("containerStatuses") or []:
                    if status["name"] == "main" and "running" in status["state"]:
                        return pod
            return None

        return wait_for(f"main of {run} runs", look, seconds=seconds)


def function(name: str, code: str, **spec: Any) -> Object:
    """A Function with an inline source; its handler is main unless a script or another handler is given."""
    entry = {} if "script" in spec or "handler" in spec else {"handler": "main"}
    return {
        "apiVersion": API_VERSION,
        "kind": "Function",
        "metadata": {"name": name},
        "spec": {"source": {"inline": code}, **entry, **spec},
    }


def job_run(name: str, function_name: str, **spec: Any) -> Object:
    """A JobRun."""
    return {
        "apiVersion": API_VERSION,
        "kind": "JobRun",
        "metadata": {"name": name},
        "spec": {"functionRef": {"name": function_name}, **spec},
    }


def deployment(name: str, function_name: str, **spec: Any) -> Object:
    """A Deployment."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"functionRef": {"name": function_name}, **spec},
    }


def deployment_run(name: str, deployment_name: str, **spec: Any) -> Object:
    """A JobRun of a Deployment."""
    return {
        "apiVersion": API_VERSION,
        "kind": "JobRun",
        "metadata": {"name": name},
        "spec": {"deploymentRef": {"name": deployment_name}, **spec},
    }


def condition(obj_or_status: Object, condition_type: str) -> Object | None:
    """A condition of an object or of a status."""
    status = obj_or_status.get("status", obj_or_status)
    return next((found for found in status.get("conditions", []) if found["type"] == condition_type), None)
