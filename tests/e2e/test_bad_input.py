"""All that people get wrong, at once in one namespace: each its own reason, none of them long, and a good run beside them."""

from __future__ import annotations

import json

import pytest

from support.cluster import Namespace, Object, Refused, function, job_run
from support.store import Bucket, data_store
from support.waiting import wait_for

LONGEST = ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61])
BOUND = 16 * 1024  # bytes of a status
DEEP = 9996  # levels; the API server takes an object of 10,000
ODD = "\\u202e\\u0000\\ud800\\udfff\\U0010ffff\\u2028"  # as Python writes it
NOOP = "def main(a=None):\n    pass\n"
FILLS = """
def main():
    with open("/tmp/filling", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
"""
RAISES = f"def main():\n    raise ValueError('{ODD}' * 20_000)\n"
NO_BUCKET = {"name": "nowhere", "path": "in"}
OBJECTS: list[Object] = [
    data_store("nowhere", "there-is-no-such-bucket", default=False, secret_name="store"),
    function("noop", NOOP),
    function(LONGEST, NOOP),
    function("imageless", NOOP, image="localhost/nothing/there:1"),
    function("fills", FILLS),
    function("raises", RAISES),
]
# What is wrong, the reason that its status has, and what is told besides.
RUNS: dict[str, tuple[Object, str, str]] = {
    "bucket": (
        job_run("bucket", "noop", inputs=[{"name": "a", "dataStore": NO_BUCKET, "stage": "Download"}]),
        "DataStoreNotReady",
        "BucketNotFound",
    ),
    "object": (
        job_run("object", "noop", inputs=[{"name": "a", "dataStore": {"name": "store", "path": "not/there"}}]),
        "StageFailed",
        "not/there",
    ),
    "function": (job_run("function", "no-such-function"), "FunctionNotFound", "no-such-function"),
    "image": (job_run("image", "imageless"), "ImagePull", "localhost/nothing/there:1"),
    "parameter": (job_run("parameter", "noop", parameters={"b": 1}), "ParameterMismatch", "b"),
    "quantity": (
        job_run("quantity", "noop", resources={"limits": {"memory": "lots"}}),
        "InvalidPodTemplate",
        "quantities must match",
    ),
    "scratch": (job_run("scratch", "fills", scratch={"size": "32Mi"}), "ScratchFull", "scratch"),
    "depth": (
        job_run("depth", "noop", parameters={"a": "DEEP"}),
        "PayloadTooLarge",
        "spec.parameters is nested deeper than 200 levels",
    ),
    "unicode": (job_run("unicode", "noop", parameters={"a": ODD}), "Succeeded", '"phase":"Succeeded"'),
    "unicode-in-an-error": (job_run("unicode-in-an-error", "raises"), "UserError", '"exitCode":1'),
    LONGEST: (job_run(LONGEST, LONGEST), "Succeeded", '"phase":"Succeeded"'),
}


def status_of(namespace: Namespace, name: str) -> str:
    """A run's status alone, as JSON: the whole of some is deeper than Python reads."""
    return namespace.kubectl("get", "jobruns.millrace.dev", name, "-o", "jsonpath={.status}")


def test_each_has_its_reason_and_a_good_run_beside_them_goes_through(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(*OBJECTS)
    for run, _, _ in RUNS.values():
        deep = '{"a":' * (DEEP - 1) + "0" + "}" * (DEEP - 1)
        text = json.dumps(run).replace('"DEEP"', deep).replace("\\\\u", "\\u")
        path = f"/apis/millrace.dev/v1alpha1/namespaces/{namespace.name}/jobruns"
        namespace.kubectl("create", "--raw", path, "-f", "-", stdin=text)
    namespace.apply(job_run("good", "noop", outputs=[{"name": "out", "asset": "nothing"}]))
    assert namespace.finished("good")["phase"] == "Succeeded"
    for name, (_, reason, word) in RUNS.items():

        def told(name: str = name, reason: str = reason, word: str = word) -> str | None:
            text = status_of(namespace, name)
            return text if f'"reason":"{reason}"' in text and word in text else None

        try:
            text = wait_for(f"{name} says {reason}, {word}", told, seconds=90)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{status_of(namespace, name)}") from None
        assert len(text.encode()) < BOUND, name


REFUSED: dict[str, tuple[Object, str]] = {
    "a source of 300 KiB": (
        function("large", "#" * 300 * 1024),
        "spec.source.inline: Too long: may not be more than 131072",
    ),
    "an unknown field": (job_run("unknown", "noop", paralel=1), 'paralel"'),
    "a bad quantity": (job_run("much", "noop", scratch={"size": "10 GB"}), "spec.scratch.size"),
    "a name of 254 characters": (job_run(f"{LONGEST}n", "noop"), "must be no more than 253 characters"),
    "a name that is none": (job_run("No_Name", "noop"), "a lowercase RFC 1123 subdomain"),
    "a reference that is none": (job_run("odd", "\u202enoop"), "spec.functionRef.name"),
}


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_at_apply_says_which_field(namespace: Namespace, what: str, server_side: bool) -> None:
    obj, says = REFUSED[what]
    with pytest.raises(Refused) as refused:
        namespace.apply(obj, server_side=server_side)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 2048
