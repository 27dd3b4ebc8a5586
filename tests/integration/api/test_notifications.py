"""Notifications: what their schema takes, and what it refuses."""

from __future__ import annotations

import pytest

from integration.api.scratch import Scratch
from millrace.api.notification import Notification
from support.apiserver import ApiServer, Object, Refused

ON, URL = {"on": ["Failed", "Late"]}, {"urlSecretRef": {"name": "hook", "key": "url"}}


@pytest.fixture(scope="module")
def notification(api: ApiServer) -> Scratch:
    return Scratch(api, Notification)


@pytest.mark.parametrize(
    "spec",
    [
        {**ON, **URL},
        {"on": ["Succeeded", "Failed", "Cancelled", "Late", "QueueStuck"], "format": "slack", **URL},
        {"on": ["QueueStuck"], "format": "cloudevents", **URL},
    ],
)
def test_transitions_formats_and_the_key_of_a_secret_are_taken(notification: Scratch, spec: Object) -> None:
    assert notification.take(**spec) == spec


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        (ON, "spec.urlSecretRef", "Required value"),
        (URL, "spec.on", "Required value"),
        ({"on": [], **URL}, "spec.on", "should have at least 1 items"),
        ({"on": ["Started"], **URL}, "spec.on[0]", "supported values"),
        ({"on": ["Failed", "Failed"], **URL}, "spec.on[1]", "Duplicate value"),
        ({**ON, **URL, "format": "mail"}, "spec.format", "supported values"),
        ({**ON, "urlSecretRef": {"name": "hook"}}, "spec.urlSecretRef.key", "Required value"),
        ({**ON, "urlSecretRef": {"name": "Hook", "key": "url"}}, "spec.urlSecretRef.name", "should match"),
    ],
)
def test_the_rest_is_refused_by_its_field(notification: Scratch, spec: Object, field: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        notification.take(**spec)
    assert field in refused.value.message
    assert why in refused.value.message
