"""What stores of some kinds cannot do: known only once a run's stores are, so no schema can refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason

if TYPE_CHECKING:
    from millrace.domain.resolved import ResolvedInput, ResolvedOutput


def check_kinds(inputs: Sequence[ResolvedInput], outputs: Sequence[ResolvedOutput]) -> Obstacle | None:
    """What a run asks of a store that its kind does not do; a folder of a local run does all that a volume does."""
    for found in inputs:
        if found.store is None:
            continue
        kind, named = found.store.spec.kind, f"DataStore {found.store.metadata.name}"
        if found.input.stage == "Mount" and kind not in (None, "volume"):
            what = f"spec.inputs[{found.input.name}].stage: Mount is for stores of kind volume, and {named} is {kind}"
            return Obstacle(Reason.MOUNT_UNSUPPORTED, what, heals=False)
        if kind == "http" and found.staged and found.type != "uri_file":
            what = f"spec.inputs[{found.input.name}]: {named} is a web server, which lists no folders; set type: uri_file"
            return Obstacle(Reason.LISTING_UNSUPPORTED, what, heals=False)
    for output in outputs:
        if not output.store.spec.writable:
            why = "is a web server" if output.store.spec.http else "has volume.readOnly"
            what = (
                f"spec.outputs[{output.output.name}]: DataStore {output.store.metadata.name} {why}: nothing is written to it"
            )
            return Obstacle(Reason.DATA_STORE_READ_ONLY, what, heals=False)
    return None
