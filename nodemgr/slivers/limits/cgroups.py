"""Ceilings for a whole sliver, where the node manager may write control groups (cgroups(7)); version 1 and 2.

Elsewhere rlimits alone hold: processes per sliver, memory per process. A sliver's group lies below the node manager's
own, so that whatever bounds the node bounds its slivers.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MIB = 1 << 20
_BOTH = "+memory +pids"
LEAF = "node"
"""A group that a supervisor has made for the node manager alone: slivers' groups stand beside it, so that the next node
manager may enter it again (docs/adr/0044-the-node-manager-and-its-slivers-in-two-units.md)."""
# Beyond the sliver's own ceiling: the processes that stand outside for its sessions, and a way in for `kill`.
SPARE_PROCESSES = 32

_JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Version:
    """What the two versions call things: controllers that have a hierarchy each (or all in one), and their files."""

    memory: str
    processes: str


V1 = Version(memory="memory.limit_in_bytes", processes="pids.max")
V2 = Version(memory="memory.max", processes="pids.max")


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The node manager's place in the control groups: one folder for memory, one for processes (in v2 the same)."""

    version: Version
    memory: Path
    processes: Path

    def hold(self, slice: str, pid: int, *, memory_mb: int, processes: int) -> None:
        """Make the sliver's group, or change its ceilings, and put `pid` into it."""
        for folder in self.folders(slice):
            folder.parent.mkdir(exist_ok=True)
            if self.version is V2:
                (folder.parent / "cgroup.subtree_control").write_text(_BOTH, encoding="ascii")
            folder.mkdir(exist_ok=True)
        self.limit(slice, memory_mb=memory_mb, processes=processes)
        for folder in self.folders(slice):
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def limit(self, slice: str, *, memory_mb: int, processes: int) -> None:
        """Set the ceilings of a group that is there; nothing to do for one that is not."""
        memory, number = self.memory / slice / self.version.memory, self.processes / slice / self.version.processes
        if memory.parent.is_dir() and number.parent.is_dir():
            memory.write_text(str(memory_mb * _MIB), encoding="ascii")
            number.write_text(str(processes + SPARE_PROCESSES), encoding="ascii")

    def join(self, slice: str) -> tuple[str, ...]:
        """Command prefix that enters the sliver's group before it is told what to run."""
        folders = [str(folder) for folder in self.folders(slice) if folder.is_dir()]
        return ("/bin/sh", "-c", _JOIN, "sh", *folders, "--") if folders else ()

    def drop(self, slice: str) -> None:
        """Remove the group of a sliver whose processes are gone, and with the last one the folder around them."""
        for folder in self.folders(slice):
            for _ in range(20):  # those that waited outside for its sessions are still on their way out
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()

    def folders(self, slice: str) -> list[Path]:
        return list(dict.fromkeys((self.memory / slice, self.processes / slice)))


def available(directory: Path, root: Path = _ROOT, own: str | None = None) -> Cgroups | None:
    """Where the node manager of this state folder may put its slivers; None where it may not write.

    Args:
        directory: names the node manager's groups, so that several on one machine do not meet.
        root: where the hierarchies are mounted.
        own: text of /proc/self/cgroup.
    """
    text = Path("/proc/self/cgroup").read_text(encoding="ascii") if own is None else own
    paths = {line.split(":")[1]: line.split(":", 2)[2].lstrip("/") for line in text.splitlines()}
    name = f"dslice-{zlib.crc32(os.fsencode(directory.resolve())):08x}"
    if "memory" in paths and "pids" in paths:
        folders = [root / kind / paths[kind] / name for kind in ("memory", "pids")]
        return Cgroups(V1, *folders) if all(os.access(folder.parent, os.W_OK) for folder in folders) else None
    for unified in (root, root / "unified"):
        base = unified / paths.get("", "")
        base = base.parent if base.name == LEAF else base
        if _has_both(base / "cgroup.controllers"):
            return _second_version(base, name)
    return None


def _second_version(base: Path, name: str) -> Cgroups | None:
    """In version 2 a group with processes cannot bound its children: we step into a child of our own first. Where
    others share our group the kernel refuses that, and then there are no groups."""
    try:
        if not _has_both(base / "cgroup.subtree_control"):
            (base / f"{name}-node").mkdir(exist_ok=True)
            (base / f"{name}-node" / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
            (base / "cgroup.subtree_control").write_text(_BOTH, encoding="ascii")
    except OSError:
        return None
    return Cgroups(V2, base / name, base / name) if os.access(base, os.W_OK) else None


def _has_both(controllers: Path) -> bool:
    try:
        return {"memory", "pids"} <= set(controllers.read_text(encoding="ascii").split())
    except OSError:
        return False
