"""How much room the disk of a node has, and when that is too little to take more slivers."""

import os
from dataclasses import dataclass
from pathlib import Path

from nodemgr.storage.ballast import free_bytes

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of `folder`. With less than `floor_mb` MiB free (0: never) it counts as full. What is free may be
    promised `overcommit` times."""

    folder: Path
    floor_mb: int
    overcommit: float = 1

    @property
    def free_mb(self) -> int:
        """What slivers can still write, MiB."""
        return free_bytes(self.folder) // _MIB

    @property
    def size_mb(self) -> int:
        """What may be promised of the whole file system, MiB."""
        found = os.statvfs(self.folder)
        return int(found.f_blocks * found.f_frsize * self.overcommit) // _MIB

    @property
    def room_mb(self) -> int:
        """What may be promised of what is free until it counts as full, MiB."""
        return int(max(self.free_mb - self.floor_mb, 0) * self.overcommit)

    @property
    def full(self) -> bool:
        return self.free_mb < self.floor_mb
