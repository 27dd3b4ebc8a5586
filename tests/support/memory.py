"""Memory limits as the kubelet sets them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from support.waiting import wait_for


class MemoryGroup:
    """A control group with a limit, as the kubelet makes one for a container. OSError where none can be made."""

    def __init__(self, megabytes: int) -> None:
        version_1 = Path("/sys/fs/cgroup/memory")
        self.path = (
            version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")
        ) / f"test-{os.getpid()}-{secrets.token_hex(4)}"
        self.path.mkdir()
        self._limit = "memory.limit_in_bytes" if version_1.is_dir() else "memory.max"
        self.limit(megabytes)
        self.mount = "/sys/fs/cgroup/memory" if version_1.is_dir() else "/sys/fs/cgroup"  # as the container sees it

    def limit(self, megabytes: int) -> None:
        """Sets another limit."""
        (self.path / self._limit).write_text(str(megabytes << 20))

    def add(self, pid: int) -> None:
        """Takes a process in; what it has in memory already is not counted."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def prefix(self) -> list[str]:
        """Command that puts what follows into the group."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"]

    def kills(self) -> int:
        """How many processes the kernel has killed for lack of memory."""
        name = "memory.oom_control" if self.mount.endswith("memory") else "memory.events"
        return next(
            int(line.split()[1]) for line in (self.path / name).read_text().splitlines() if line.startswith("oom_kill ")
        )

    def end(self) -> None:
        """Removes it; its processes have ended."""
        wait_for("an empty group", lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()
