"""Memory of whole slivers where there are no control groups: each second it is seen how much is resident, and in a
sliver that has more than its ceiling the largest process is ended, as the kernel would do.

What is not mapped counts too, if it is open: memfd_create(2) makes memory that is in no process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodemgr.slivers.process.processes import PROC, Process, namespace, pids

log = logging.getLogger(__name__)

_KIB = 1024
_BLOCK = 512  # of st_blocks, whatever the file system's


@dataclass(frozen=True, slots=True)
class Bounded:
    """One running sliver: its first process, and its ceiling in MiB."""

    slice: str
    keeper: Process
    memory_mb: int


def look(slivers: Sequence[Bounded]) -> list[str]:
    """One round: end the largest process of each sliver that takes too much; the slices whose they were. The next round
    may end another."""
    inside = {key: sliver for sliver in slivers if (key := namespace(sliver.keeper.pid, "pid"))}
    found: dict[str, dict[int, int]] = {}
    for pid in pids():
        key = namespace(pid, "pid")
        if key in inside and pid != inside[key].keeper.pid:
            found.setdefault(key, {})[pid] = _resident(pid)
    return [inside[key].slice for key, sizes in found.items() if _bound(inside[key], sizes)]


def _bound(sliver: Bounded, sizes: Mapping[int, int]) -> bool:
    """Whether one was ended.

    Args:
        sizes: bytes of each process; what several share is in each, so that the sum may be too large.
    """
    ceiling = sliver.memory_mb << 20
    open_files = _open_memory(sizes)
    if sum(sizes.values()) + open_files <= ceiling:
        return False
    mapped, shared = (sum(part) for part in zip(*map(_proportional, sizes), strict=True))
    taken = mapped + max(shared, open_files)  # a memfd that is mapped is in both
    if taken <= ceiling:
        return False
    victim = max(sizes, key=lambda pid: sizes[pid])
    with contextlib.suppress(OSError):
        words = (sliver.slice, taken >> 20, sliver.memory_mb, victim, (PROC / str(victim) / "comm").read_text())
        handle = os.pidfd_open(victim)
        try:
            if namespace(victim, "pid") == namespace(sliver.keeper.pid, "pid"):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                log.warning("%s has %d MiB in memory and may have %d: its process %d (%r) is ended", *words)
                return True
        finally:
            os.close(handle)
    return False


def _resident(pid: int) -> int:
    """Bytes in memory that are not a file's."""
    return _KIB * sum(_lines(PROC / str(pid) / "status", "RssAnon", "RssShmem"))


def _proportional(pid: int) -> tuple[int, int]:
    """Bytes of its own, and shared ones, each divided by how many processes have them."""
    own, shared = _lines(PROC / str(pid) / "smaps_rollup", "Pss_Anon", "Pss_Shmem")
    return _KIB * own, _KIB * shared


def _lines(file: Path, *names: str) -> list[int]:
    """Numbers of a file of the kernel's; zeros when the process is gone, or is not to be looked into."""
    found = dict.fromkeys(names, 0)
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0])
    return list(found.values())


def _open_memory(members: Mapping[int, int]) -> int:
    """Bytes in the memfd files that these processes have open."""
    found = {}
    for pid in members:
        with contextlib.suppress(OSError):
            for entry in os.scandir(PROC / str(pid) / "fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path).startswith("/memfd:"):
                        about = os.stat(entry.path)
                        found[about.st_dev, about.st_ino] = about.st_blocks * _BLOCK
    return sum(found.values())
