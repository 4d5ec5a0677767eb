"""How much room the disk of a node has, and when that is too little to take more slivers."""

import os
from dataclasses import dataclass
from pathlib import Path

from nodemgr.storage.ballast import free_bytes

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of `folder`. With less than `floor_mb` MiB free (0: never) it counts as full."""

    folder: Path
    floor_mb: int

    @property
    def free_mb(self) -> int:
        """What slivers can still write, MiB."""
        return free_bytes(self.folder) // _MIB

    @property
    def size_mb(self) -> int:
        """Of the whole file system, MiB."""
        found = os.statvfs(self.folder)
        return found.f_blocks * found.f_frsize // _MIB

    @property
    def room_mb(self) -> int:
        """The same, until it counts as full."""
        return max(self.free_mb - self.floor_mb, 0)

    @property
    def full(self) -> bool:
        return self.free_mb < self.floor_mb
