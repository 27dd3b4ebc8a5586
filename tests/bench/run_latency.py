"""From create to the end: a JobRun against a bare Job of the same shape, alternating, on the real cluster.

`plain`: no data, one container. `data`: one input, one zip output, against an init container and two containers of the
same images that do nothing. Prints the ratio of medians; the aim is at most 1.1 for both.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from support import store as stores
from support.cluster import Namespace, function, job_run, kubectl
from support.waiting import wait_for

ROUNDS = 9
AIM = 1.1
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _image(name: str) -> str:
    settings = kubectl("-n", "millrace-system", "get", "cm", "millrace-operator", "-o", r"jsonpath={.data.config\.yaml}")
    return next(word.strip('"') for word in settings.split() if f"/{name}" in word)


def bare_job(name: str, *, data: bool) -> dict[str, Any]:
    """A Job whose containers do nothing."""
    command = ["python3", "-c", "pass"]

    def container(role: str, image: str) -> dict[str, Any]:
        return {"name": role, "image": image, "command": command, "securityContext": RESTRICTED}

    stage, runtime = _image("stage"), _image("runtime-3.13")
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsUser": 65532, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("main", runtime)],
    }
    if data:
        spec["initContainers"] = [container("stage", stage)]
        spec["containers"].append(container("collect", stage))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }


def timed(namespace: Namespace, manifest: dict[str, Any], kind: str, condition: str) -> float:
    """Seconds from create until the condition is true."""
    began = time.perf_counter()
    namespace.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    namespace.kubectl("wait", f"--for=condition={condition}", f"{kind}/{manifest['metadata']['name']}", "--timeout=60s")
    return time.perf_counter() - began


def compare(name: str, ours: Callable[[int], float], bare: Callable[[int], float]) -> float:
    """Alternates, prints all numbers, returns the ratio of medians."""
    results: dict[str, list[float]] = {"millrace": [], "bare Job": []}
    for round_number in range(ROUNDS):
        contenders = [("millrace", ours), ("bare Job", bare)]
        for contender, run in contenders if round_number % 2 else contenders[::-1]:
            results[contender].append(run(round_number))
    medians = {contender: statistics.median(values) for contender, values in results.items()}
    ratio = medians["millrace"] / medians["bare Job"]
    for contender, values in results.items():
        print(f"  {contender:10} median {medians[contender]:.2f} s   {' '.join(f'{value:.2f}' for value in values)}")
    print(f"{name}: {ratio:.2f} times a bare Job of the same shape (aim: at most {AIM})", flush=True)
    return ratio


def main() -> dict[str, float]:
    """Runs both comparisons."""
    name = f"bench-{time.time_ns() % 10**8}"
    kubectl("create", "namespace", name)
    namespace = Namespace(name)
    bucket = stores.new_bucket()
    try:
        stores.install(namespace, bucket)
        bucket.put("in/a.csv", b"x,y\n1,2\n" * 1000)
        copy = "import os, shutil\ndef main(data):\n    shutil.copytree(data, os.environ['BATCH_OUTPUT_DIR'], dirs_exist_ok=True)\n"
        namespace.apply(function("nothing", "def main():\n    pass\n"), function("copy", copy))
        wait_for("the store is ready", lambda: "True" in namespace.kubectl("get", "dstore", "store", "--no-headers"))

        def with_data(number: int) -> dict[str, Any]:
            place = {"name": "store", "path": "in"}
            outputs = [{"name": "out", "dataStore": {"name": "store", "path": f"res/{number}"}}]
            return job_run(f"data-{number}", "copy", inputs=[{"name": "data", "dataStore": place}], outputs=outputs)

        return {
            "run without data": compare(
                "run without data",
                lambda n: timed(namespace, job_run(f"plain-{n}", "nothing"), "jr", "Finished"),
                lambda n: timed(namespace, bare_job(f"bare-plain-{n}", data=False), "job", "Complete"),
            ),
            "run with one input and one zip output": compare(
                "run with one input and one zip output",
                lambda n: timed(namespace, with_data(n), "jr", "Finished"),
                lambda n: timed(namespace, bare_job(f"bare-data-{n}", data=True), "job", "Complete"),
            ),
        }
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


if __name__ == "__main__":
    main()
