"""What a run may say though the API server cannot refuse it: found here, before anything is made of it."""

from __future__ import annotations

import posixpath

from millrace.api.base import Model
from millrace.api.jobrun import JobRun, JobRunSpec
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.protocol import IMAGE_RUNTIME_DIR, ROOT

DEEPEST = 200  # Python 3.11 reads some 900 levels, a stack of users' own functions fewer


def nesting(value: object) -> int:
    """How many lists and objects lie within each other; it may be thousands, so nothing recurses."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        found, depth = todo.pop()
        if isinstance(found, Model):
            found = dict(found)
        if isinstance(found, dict | list):
            deepest = max(deepest, depth)
            children = found.values() if isinstance(found, dict) else found
            todo += [(child, depth + 1) for child in children if isinstance(child, dict | list | Model)]
    return deepest


def check_nesting(run: JobRun) -> Obstacle | None:
    """JSON that what runs in the pod could not read."""
    for name, value in run.spec:
        if nesting(value) > DEEPEST:
            field = JobRunSpec.model_fields[name].alias
            message = f"spec.{field} is nested deeper than {DEEPEST} levels. Put such data into an input"
            return Obstacle(Reason.PAYLOAD_TOO_LARGE, message, heals=False)
    return None


def check_mounts(run: JobRun) -> Obstacle | None:
    """The user's volumes may stand beside ours, not in their place: main must not reach the seal or change the lock."""
    volumes = {volume.get("name") for volume in run.spec.volumes}
    for mount in run.spec.volume_mounts:
        # The kubelet takes a relative path for one from the root, and the kernel // for /.
        name, path = mount.get("name"), posixpath.normpath("/" + str(mount.get("mountPath")).lstrip("/"))
        if name not in volumes:
            return Obstacle(Reason.INVALID_POD_TEMPLATE, f"volumeMounts: {name} is not a name under volumes", heals=False)
        for ours in (ROOT, IMAGE_RUNTIME_DIR):
            if f"{path}/".startswith(f"{ours}/") or ours.startswith(posixpath.join(path, "")):
                return Obstacle(Reason.INVALID_POD_TEMPLATE, f"volumeMounts: {path} is millrace's own place", heals=False)
    return None
