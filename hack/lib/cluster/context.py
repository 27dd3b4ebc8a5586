"""Which cluster this checkout means, and where its things are."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
HACK = REPO / "hack"
CONFIG = Path(__file__).resolve().parent / "config"


def _base(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / otherwise) / "millrace"


CACHE = _base("XDG_CACHE_HOME", ".cache")  # tools and images: shared by all checkouts, kept by `down`
CLUSTERS = _base("XDG_STATE_HOME", ".local/state") / "clusters"


@dataclass(frozen=True)
class Cluster:
    """One per checkout: the id is derived from its path, so two clones never meet."""

    id: str = field(default_factory=lambda: hashlib.sha256(str(REPO).encode()).hexdigest()[:8])

    @property
    def name(self) -> str:
        return f"millrace-{self.id}"

    @property
    def state(self) -> Path:
        return CLUSTERS / self.id

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def lock(self) -> Path:
        return CACHE / "lock" / self.id

    def record(self) -> dict:
        """What is known of the running cluster; {} without one."""
        try:
            return json.loads((self.state / "cluster.json").read_text())
        except FileNotFoundError:
            return {}

    def note(self, **facts) -> dict:
        """Add facts to the record, each before or as soon as it is true, so that `down` can undo it."""
        record = self.record() | facts
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self.state / "cluster.json.new"
        new.write_text(json.dumps(record, indent=1))
        new.replace(self.state / "cluster.json")
        return record
