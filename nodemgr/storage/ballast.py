"""Room on the disk that is kept for the node's own duties: a file of zeros, given back when nothing else is left."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from rpc.files import write_file

_HEADER = 32  # bytes, of SQLite's write-ahead log
FILE_BYTES = 16 << 10  # what a file system for general use has a file for (mke2fs(8))


@dataclass(slots=True)
class Ballast:
    """The file `path` of `size` bytes (0: none is kept).

    Its blocks become a database's write-ahead log without ever being free in between, when somebody else would take
    them: `become_log`, and back by `keep_log` and `cleared`.
    """

    path: Path
    size: int

    @property
    def held(self) -> bool:
        return self.path.exists()

    def make(self) -> bool:
        """Make it where it is missing and the disk has room for it twice; whether it is there now."""
        if self.size == 0:
            return False
        if self.held:
            return True
        with contextlib.suppress(OSError):
            if free_bytes(self.path.parent) >= 2 * self.size:
                write_file(self.path, bytes(self.size))
        return self.held

    def give_back(self) -> bool:
        """Free its room for who writes next; whether there was any."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def become_log(self, log: Path) -> None:
        """Before the database is opened: where it has no log, this is its first, empty one."""
        if not self.held:
            return
        if log.exists():
            if log.samefile(self.path):  # a crash in `keep_log`
                self.path.unlink()
            return
        self._clear()
        self.path.rename(log)

    def keep_log(self, log: Path) -> None:
        """Before it is closed, which removes the log: keep the blocks under this name, unless some are kept already."""
        if self.size and not self.held:
            with contextlib.suppress(OSError):
                os.link(log, self.path)

    def cleared(self, log: Path) -> None:
        """After it is closed: what is kept says nothing any more. A log that had to stay is the log still."""
        if self.held and log.exists() and log.samefile(self.path):
            self.path.unlink()
        elif self.held:
            self._clear()

    def _clear(self) -> None:
        # Overwritten in place: a header without SQLite's magic number makes all that follows void.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, bytes(_HEADER), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_bytes(folder: Path) -> int:
    """What the file system of `folder` still takes from who is not root. It can be full of files, too: each that it
    still takes counts as `FILE_BYTES`; some have no such bound."""
    found = os.statvfs(folder)
    room = found.f_bavail * found.f_frsize
    return min(room, found.f_favail * FILE_BYTES) if found.f_files else room
