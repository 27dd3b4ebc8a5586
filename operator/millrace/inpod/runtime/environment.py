"""The environment that user code sees: the container's own, byte for byte, and what the contract adds."""

from __future__ import annotations

import os

from millrace import protocol
from millrace.inpod.runtime.paths import ROOT_VARIABLE, here, root
from millrace.inpod.runtime.plan import Plan

NAMELESS_USER = "millrace"


def child_environment(plan: Plan, own: dict[str, str]) -> dict[str, str]:
    """`own` with the contract's variables; no directory variable without staged inputs or outputs."""
    ours = (ROOT_VARIABLE, protocol.PARAMETER_PREFIX)  # secrets: what prints its environment shall not show them
    env = {name: value for name, value in own.items() if not name.startswith(ours)}
    env[protocol.JOBS_PAYLOAD_FILE] = here(protocol.PAYLOAD_FILE)
    if plan.staged_inputs:
        env[protocol.BATCH_INPUT_DIR] = here(protocol.IN_DIR)
    if plan.outputs:
        env[protocol.BATCH_OUTPUT_DIR] = here(protocol.OUT_DIR)
    env["PYTHONPATH"] = _python_path(plan, env.get("PYTHONPATH", ""))
    _name_user(env)
    if root():
        env.setdefault("TMPDIR", here(protocol.TMP_DIR))
    return env


def _python_path(plan: Plan, users: str) -> str:
    folders = [plan.source] if plan.source else []
    if os.path.isdir(here(protocol.DEPS_DIR)):
        folders.append(here(protocol.DEPS_DIR))
    return os.pathsep.join(folders + ([users] if users else []))


def _name_user(env: dict[str, str]) -> None:
    """HOME, USER, LOGNAME: a uid without a passwd entry has HOME=/ and no name, and libraries fail on both."""
    home = env.get("HOME", "/")
    if home == "/" or not os.access(home, os.W_OK | os.X_OK):
        env["HOME"] = here(protocol.TMP_DIR)
    if "USER" not in env or "LOGNAME" not in env:
        name = env.get("USER") or env.get("LOGNAME") or _user_name()
        env.setdefault("USER", name)
        env.setdefault("LOGNAME", name)


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return NAMELESS_USER
