"""Refusals of the API server, recorded from version 1.34, as sentences."""

from __future__ import annotations

import pytest

from millrace.cli.explain import explain
from millrace.kube.api import ApiError

SKIPPED = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors"
)
CASES = {
    "no answer": (
        ApiError(0, "ClientConnectorError", "Cannot connect to host x:6443"),
        ["cannot apply F: the cluster does not answer (Cannot connect to host x:6443)", "kubectl cluster-info"],
    ),
    "not logged in": (ApiError(401, "Unauthorized", "Unauthorized"), ["the cluster does not know you", "log in again"]),
    "forbidden": (
        ApiError(403, "Forbidden", 'secrets "s" is forbidden: User "u" cannot get resource "secrets"'),
        ["cannot apply F: you may not", 'User "u" cannot get resource "secrets"'],
    ),
    "no CRDs": (ApiError(404, "", "404 page not found\n"), ["this cluster does not know millrace's kinds", "hack/install"]),
    "no namespace": (
        ApiError(404, "NotFound", 'namespaces "a" not found'),
        ["there is no namespace a", "kubectl create namespace a"],
    ),
    "conflict": (
        ApiError(
            409,
            "Conflict",
            "Apply failed with 1 conflict: ...",
            [(".spec.handler", 'conflict with "argocd-controller" using millrace.dev/v1alpha1')],
        ),
        ["cannot apply F: argocd-controller set spec.handler to another value", "--force-conflicts"],
    ),
    "fields": (
        ApiError(
            422,
            "Invalid",
            "…",
            [
                ("spec.inputs[0]", 'Invalid value: "object": exactly one of dataStore must be set'),
                ("spec.retries", 'Invalid value: "string": spec.retries in body must be of type integer: "string"'),
                (
                    "spec.outputs[0].name",
                    "Invalid value: \"A_b\": spec.outputs[0].name in body should match '^[a-z]$'",
                ),
                ("spec.functionRef", "Required value"),
                ("<nil>", SKIPPED),
            ],
        ),
        [
            "cannot apply F:",
            "spec.inputs[0]: exactly one of dataStore must be set",
            "spec.retries: must be of type integer, not string",
            "spec.outputs[0].name: \"A_b\" should match '^[a-z]$'",
            "spec.functionRef: Required value",
        ],
    ),
    "unknown field, POST": (
        ApiError(400, "BadRequest", 'strict decoding error: unknown field "spec.foo", unknown field "spec.timeouts.qeued"'),
        ["spec.foo: there is no such field", "spec.timeouts.qeued: there is no such field"],
    ),
    "unknown field, apply": (
        ApiError(
            500,
            "",
            "failed to create typed patch object (/f; x/v1, Kind=F): .spec.foo: field not declared in schema",
        ),
        ["spec.foo: there is no such field"],
    ),
    "anything else": (ApiError(500, "InternalError", "etcd\n  is away"), ["cannot apply F: etcd is away"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_names_the_field_and_what_to_do(case: str) -> None:
    error, expected = CASES[case]
    found = explain(error, "apply F")
    text = "\n".join([found.message, *found.hints])
    for part in expected:
        assert part in text
    assert "rules were not checked" not in text
    assert found.code == 2
