"""Revisions that are not current any more go when nothing that is under way is made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from millrace.reconcile.plan import Delete, Plan

AGAIN_SECONDS = 60  # until old revisions are looked at again


def tidy(
    namespace: str, revisions: Mapping[str, str], current: str | None, in_use: Collection[str], *, written: bool
) -> Plan:
    """Deletes the ConfigMaps (name to UID) that are neither `current` nor `in_use`, in a pass that has `written` nothing.

    A run may be about to start with what was current a moment ago. No event tells when the last that needs a revision is
    over (its Job may end after its status does), so as long as there are old ones they are looked at again.
    """
    old = {name: uid for name, uid in sorted(revisions.items()) if name != current}
    unneeded = {} if written else {name: uid for name, uid in old.items() if name not in in_use}
    return Plan(
        tuple(Delete("ConfigMap", namespace, name, uid) for name, uid in unneeded.items()),
        again=AGAIN_SECONDS if len(old) > len(unneeded) else None,
    )
