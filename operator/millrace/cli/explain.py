"""The API server's refusals as sentences for people: pure."""

from __future__ import annotations

import re

from millrace.cli.errors import Refused
from millrace.kube.api import ApiError

INSTALL = "install millrace first: hack/install from a checkout, or helm install millrace with the chart"
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"|duplicate field "([^"]+)"')
_UNDECLARED = re.compile(r"(\.[^\s:]+): field not declared in schema")
_VALUE = re.compile(r'^Invalid value: ("object"|\{.*\}|null|map\[.*\]): ', re.DOTALL)
_TYPE = re.compile(r'must be of type (\w+): "(\w+)"')
_FIELD_IN_BODY = re.compile(r"^(?:Invalid value: (?P<value>.*?): )?[\w\[\].\"-]+ in body ", re.DOTALL)


def explain(error: ApiError, what: str) -> Refused:
    """What to tell a person about a refused request; `what` was to be done, such as `apply Function heart`."""
    if error.status == 0:
        return Refused(
            f"cannot {what}: the cluster does not answer ({error.message or error.reason})",
            "is it up, and is the kubeconfig's current context the right one? `kubectl cluster-info` asks the same server",
        )
    if error.status == 401:
        return Refused(f"cannot {what}: the cluster does not know you (401)", "log in again, then try `kubectl auth whoami`")
    if error.status == 403:
        return Refused(
            f"cannot {what}: you may not", _sentence(error.message), "ask whoever runs the cluster for that right"
        )
    if error.status == 404 and not error.reason:
        return Refused(f"cannot {what}: this cluster does not know millrace's kinds", INSTALL)
    if error.status == 404 and "namespaces" in error.message:
        name = re.search(r'namespaces "([^"]+)"', error.message)
        shown = name[1] if name else "?"
        return Refused(f"cannot {what}: there is no namespace {shown}", f"kubectl create namespace {shown}, or another -n")
    if error.status == 409 and error.reason == "Conflict" and error.causes:
        return _conflict(error, what)
    problems = _problems(error)
    return Refused(f"cannot {what}:", *problems) if problems else Refused(f"cannot {what}: {_sentence(error.message)}")


def _conflict(error: ApiError, what: str) -> Refused:
    managers = sorted({found[1] for _, message in error.causes if (found := re.search(r'conflict with "([^"]+)"', message))})
    fields = ", ".join(field.removeprefix(".") for field, _ in error.causes)
    return Refused(
        f"cannot {what}: {', '.join(managers) or 'somebody else'} set {fields} to another value",
        "change it there (kubectl apply, Argo CD, Flux …), or take these fields over with --force-conflicts",
    )


def _problems(error: ApiError) -> list[str]:
    """One line for each field that is wrong: `spec.inputs[0]: exactly one of … must be set`."""
    found = [
        f"{field}: {_complaint(message)}" if field and field != "<nil>" else _complaint(message)
        for field, message in error.causes
        if "some validation rules were not checked" not in message
    ]
    if found:
        return found
    unknown = _UNKNOWN_FIELD.findall(error.message)
    if unknown:
        return [f"{name}: there is no such field" if name else f"{twice}: set twice" for name, twice in unknown]
    return [f"{path.removeprefix('.')}: there is no such field" for path in _UNDECLARED.findall(error.message)]


def _complaint(message: str) -> str:
    if wrong := _TYPE.search(message):
        return f"must be of type {wrong[1]}, not {wrong[2]}"
    text = _VALUE.sub("", message)
    body = _FIELD_IN_BODY.match(text)
    if body:
        shown = f"{body['value']} " if body["value"] else ""
        text = shown + text[body.end() :]
    return text.strip()


def _sentence(message: str) -> str:
    return " ".join(message.split())
