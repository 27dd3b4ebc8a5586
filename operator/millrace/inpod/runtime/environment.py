"""The environment that user code sees: the container's own, byte for byte, and what the contract adds."""

from __future__ import annotations

import os

from millrace import protocol
from millrace.inpod.runtime.paths import ROOT_VARIABLE, here, root
from millrace.inpod.runtime.plan import Plan

NAMELESS_USER = "millrace"


def child_environment(plan: Plan, own: dict[str, str]) -> dict[str, str]:
    """`own` with the contract's variables; no directory variable without staged inputs or outputs."""
    env = user_environment(plan, own)
    env[protocol.JOBS_PAYLOAD_FILE] = here(protocol.PAYLOAD_FILE)
    if plan.outputs:
        env[protocol.BATCH_OUTPUT_DIR] = here(protocol.OUT_DIR)
    if plan.shards:
        position = env.pop(protocol.COMPLETION_INDEX)  # of a further attempt at some shards it is not the shard's
        env[protocol.SHARD_INDEX_VARIABLE] = str(protocol.shard_at(plan.shards["only"], int(position)))
        env[protocol.SHARD_COUNT_VARIABLE] = str(plan.shards["count"])
    return env


def user_environment(plan: Plan, own: dict[str, str]) -> dict[str, str]:
    """What runs and services have in common: `own` without what is ours, where modules are, who the user is."""
    ours = (ROOT_VARIABLE, protocol.PARAMETER_PREFIX)  # secrets: what prints its environment shall not show them
    env = {name: value for name, value in own.items() if not name.startswith(ours)}
    if plan.staged_inputs:
        env[protocol.BATCH_INPUT_DIR] = here(protocol.IN_DIR)
    env["PYTHONPATH"] = os.pathsep.join([*module_folders(plan), *filter(None, [env.get("PYTHONPATH", "")])])
    _name_user(env)
    if root():
        env.setdefault("TMPDIR", here(protocol.TMP_DIR))
    return env


def module_folders(plan: Plan) -> list[str]:
    """Where modules of user code are: the source, and the requirements if there are some."""
    folders = [plan.source] if plan.source else []
    if os.path.isdir(here(protocol.DEPS_DIR)):
        folders.append(here(protocol.DEPS_DIR))
    return folders


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
