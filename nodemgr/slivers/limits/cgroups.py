"""Ceilings for a whole sliver, where the node manager may write control groups (cgroups(7)); version 1 and 2.

Elsewhere `rlimits` and `resident` hold what they can. A sliver's group lies below the node manager's own, so that
whatever bounds the node bounds its slivers. Its first process is born in it: so a control group namespace begins there,
and what is seen inside as /sys/fs/cgroup is the group itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MIB = 1 << 20
_ALL_SLIVERS = 50  # together, on each processor: half of one process of the node manager's
_NEEDED = ("memory", "pids")
_OPTIONAL = {1: ("cpu", "cpuacct", "cpuset"), 2: ("cpu",)}  # Java believes in the first version only with all of them
_CPUSET = ("cpuset.cpus", "cpuset.mems")
LEAF = "node"
"""A group that a supervisor has made for the node manager alone: slivers' groups stand beside it, so that the next node
manager may enter it again (docs/adr/0044-the-node-manager-and-its-slivers-in-two-units.md)."""
# Beyond the sliver's own ceiling: the processes that stand outside for its sessions, and a way in for `kill`.
SPARE_PROCESSES = 32

_tree = threading.Lock()  # no folder goes while another is made in it

_JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What one sliver may take: MiB, processes and threads, and its weight for processors (100: an ordinary one's)."""

    memory_mb: int
    processes: int
    cpu: int = 100


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The node manager's place in the control groups.

    Args:
        version: 1, where controllers have a hierarchy each, or 2.
        places: a controller to the folder in which slivers have theirs; in version 2 it is the same for all.
    """

    version: int
    places: Mapping[str, Path]

    def make(self, name: str, ceilings: Ceilings) -> tuple[str, ...]:
        """Make a sliver's group, or change its ceilings; the command prefix that enters it."""
        with _tree:
            for place in dict.fromkeys(self.places.values()):
                self._make(place)
                if self.version == 2:
                    _write(place / "cgroup.subtree_control", " ".join(f"+{kind}" for kind in self.places))
                self._make(place / name)
        if "cpu" in self.places:
            self._weigh(self.places["cpu"], _ALL_SLIVERS * (os.cpu_count() or 1))
        self.limit(name, ceilings)
        return self.join(name)

    def limit(self, name: str, ceilings: Ceilings) -> None:
        """Set the ceilings of a group that is there; nothing to do for one that is not."""
        if self.folders(name):
            memory = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            _write(self.places["memory"] / name / memory, ceilings.memory_mb * _MIB)
            if (swap := self.places["memory"] / name / "memory.swap.max").exists():
                _write(swap, 0)
            _write(self.places["pids"] / name / "pids.max", ceilings.processes + SPARE_PROCESSES)
            if "cpu" in self.places:
                self._weigh(self.places["cpu"] / name, ceilings.cpu)

    def join(self, name: str | None) -> tuple[str, ...]:
        """Command prefix that enters the sliver's group before it is told what to run."""
        folders = [str(folder) for folder in self.folders(name)]
        return ("/bin/sh", "-c", _JOIN, "sh", *folders, "--") if folders else ()

    def name(self, pid: int) -> str | None:
        """The group of the sliver that a process is in; None when it is in none of this node manager's."""
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        except OSError:
            return None
        path = _paths(text).get("memory" if self.version == 1 else "", "").rpartition("/")
        return path[2] if path[0].rpartition("/")[2] == self.places["memory"].name else None

    def drop(self, name: str | None) -> None:
        """Remove the group of a sliver whose processes are gone, and with the last one the folder around them."""
        for folder in self.folders(name):
            for _ in range(20):  # those that waited outside for its sessions are still on their way out
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)
            with _tree, contextlib.suppress(OSError):
                folder.parent.rmdir()

    def sweep(self, kept: Collection[str] = ()) -> None:
        """Remove the groups of slivers that ended while nobody looked, but those that are `kept`: somebody may be about
        to enter them."""
        for place in set(self.places.values()):
            with _tree:
                for folder in [*(each for each in place.glob("*/") if each.name not in kept), place]:
                    with contextlib.suppress(OSError):  # somebody is in it
                        folder.rmdir()

    def killed(self) -> dict[str, int]:
        """How many processes the kernel has ended for want of memory, by group; those that are there now."""
        folders = self.places["memory"].glob("*/")
        return {folder.name: number for folder in folders if (number := killed_in(folder)) is not None}

    def folders(self, name: str | None) -> list[Path]:
        """A group's folders; none when it is not there."""
        return [folder for folder in self.shown(name).values() if folder.is_dir()] if name else []

    def shown(self, name: str) -> dict[str, Path]:
        """A group's folders by where they belong below /sys/fs/cgroup."""
        if self.version == 2:
            return {"": self.places["memory"] / name}
        return {kind: place / name for kind, place in self.places.items()}

    def _make(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if self.places.get("cpuset") in (folder, folder.parent):  # nobody may enter while these are empty
            for file in _CPUSET:
                _write(folder / file, (folder.parent / file).read_text(encoding="ascii"))

    def _weigh(self, folder: Path, weight: int) -> None:
        if self.version == 2:
            _write(folder / "cpu.weight", min(weight, 10_000))
        else:
            _write(folder / "cpu.shares", max(2, weight * 1024 // 100))


def available(directory: Path, root: Path = _ROOT, own: str | None = None) -> Cgroups | None:
    """Where the node manager of this state folder may put its slivers; None where it may not write.

    Args:
        directory: names the node manager's groups, so that several on one machine do not meet.
        root: where the hierarchies are mounted.
        own: text of /proc/self/cgroup.
    """
    paths = _paths(Path("/proc/self/cgroup").read_text(encoding="ascii") if own is None else own)
    name = f"dslice-{zlib.crc32(os.fsencode(directory.resolve())):08x}"
    if all(kind in paths for kind in _NEEDED):
        places = {kind: root / kind / paths[kind].lstrip("/") for kind in (*_NEEDED, *_OPTIONAL[1]) if kind in paths}
        found = {kind: place / name for kind, place in places.items() if os.access(place, os.W_OK)}
        return Cgroups(1, found) if all(kind in found for kind in _NEEDED) else None
    for unified in (root, root / "unified"):
        base = unified / paths.get("", "").lstrip("/")
        base = base.parent if base.name == LEAF else base
        if _controllers(base / "cgroup.controllers") >= set(_NEEDED):
            return _second_version(base, name)
    return None


def of_process(pid: int, root: Path = _ROOT) -> dict[str, Path]:
    """The folders of the group that a process is in, whoever made it, by where they belong below /sys/fs/cgroup."""
    return _places(Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"), root)


def killed_in(folder: Path) -> int | None:
    """How many processes of a group the kernel has ended for want of memory; None when it is gone. `folder`: in which
    its memory is bounded."""
    for file in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            words = (folder / file).read_text(encoding="ascii").split()
            return int(words[words.index("oom_kill") + 1])
    return None


def _places(text: str, root: Path) -> dict[str, Path]:
    paths = _paths(text)
    first = {kind: root / kind / paths[kind].lstrip("/") for kind in (*_NEEDED, *_OPTIONAL[1]) if kind in paths}
    there = {kind: folder for kind, folder in first.items() if folder.is_dir()}
    return there or {"": root / paths.get("", "").lstrip("/")}


def _second_version(base: Path, name: str) -> Cgroups | None:
    """In version 2 a group with processes cannot bound its children: we step into a child of our own first. Where
    others share our group the kernel refuses that, and then there are no groups."""
    kinds = _controllers(base / "cgroup.subtree_control")
    try:
        if not set(_NEEDED) <= kinds:
            (base / f"{name}-node").mkdir(exist_ok=True)
            _write(base / f"{name}-node" / "cgroup.procs", os.getpid())
            kinds = {kind for kind in _controllers(base / "cgroup.controllers") if _enabled(base, kind)}
    except OSError:
        return None
    usable = set(_NEEDED) <= kinds and os.access(base, os.W_OK)
    return Cgroups(2, dict.fromkeys(sorted(kinds), base / name)) if usable else None


def _enabled(group: Path, kind: str) -> bool:
    """Have a group's children bounded by a controller, where that can be: processors not beside real-time processes."""
    try:
        _write(group / "cgroup.subtree_control", f"+{kind}")
    except OSError:
        return False
    return True


def _controllers(file: Path) -> set[str]:
    """Those of a group's controllers that we use."""
    try:
        return set(file.read_text(encoding="ascii").split()) & {*_NEEDED, *_OPTIONAL[2]}
    except OSError:
        return set()


def _paths(text: str) -> dict[str, str]:
    """/proc/PID/cgroup as controller to path; version 2 has the empty word for all."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    return {kind: path for _, kinds, path in lines for kind in kinds.split(",")}


def _write(file: Path, value: str | int) -> None:
    file.write_text(str(value), encoding="ascii")
