"""A root file system, written below a folder and nowhere else, whatever its source says.

Each path is walked from the root by descriptors that follow no link, so that a link in the source leads nowhere while
it is written. Links themselves are kept as they are: inside a sliver they lead to its own files.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from admin.images.sources import Entry, Kind, Parts
from trust.errors import Code, Refusal

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP)
_DEVICES = {Kind.CHARACTERS: stat.S_IFCHR, Kind.BLOCKS: stat.S_IFBLK}


class Tree:
    """Written below the folder that `root` is a descriptor of.

    Args:
        first: the user and group that root's files are given to, and the others' to the numbers after it; None: all are
            the caller's.
        devices: whether they are made; `left_out` counts them else.
    """

    def __init__(self, root: int, *, first: int | None, devices: bool) -> None:
        self.left_out = 0
        self._root = root
        self._first = first
        self._devices = devices
        self._folders: dict[Parts, Entry] = {}

    def write(self, entries: Iterable[Entry]) -> None:
        """All of them. Raises Refusal(BAD_INPUT) for one that would be outside, or in the way of another; OSError."""
        for entry in entries:
            try:
                self._put(entry)
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                reason = f"{entry.path} stands there twice, or leads through a link or a file; correct the source"
                raise Refusal(Code.BAD_INPUT, reason) from error
        # Last, and the innermost first: a folder may be closed to who fills it, and filling it changes its time.
        for parts in sorted(self._folders, key=len, reverse=True):
            with self._opened(parts) as folder:
                self._finish(folder, self._folders[parts])

    def _put(self, entry: Entry) -> None:
        if entry.kind is Kind.FOLDER:
            with self._opened(entry.parts, make=True):
                self._folders[entry.parts] = entry
            return
        if not entry.parts:
            raise NotADirectoryError(errno.ENOTDIR, "the root is a folder")
        with self._opened(entry.parts[:-1], make=True) as folder:
            name = entry.parts[-1]
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)  # a tar may say a name again: the last time counts
            self._make(entry, folder, name)

    def _make(self, entry: Entry, folder: int, name: str) -> None:
        match entry.kind:
            case Kind.FILE:
                self._file(entry, folder, name)
            case Kind.SAME:
                with self._opened(entry.same[:-1]) as other:
                    os.link(entry.same[-1], name, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
            case Kind.LINK:
                os.symlink(entry.target, name, dir_fd=folder)
                self._finish_name(entry, folder, name)
            case Kind.PIPE:
                os.mkfifo(name, 0o600, dir_fd=folder)
                self._finish_name(entry, folder, name)
            case Kind.CHARACTERS | Kind.BLOCKS if self._devices:
                os.mknod(name, 0o600 | _DEVICES[entry.kind], os.makedev(*entry.device), dir_fd=folder)
                self._finish_name(entry, folder, name)
            case _:
                self.left_out += 1

    def _file(self, entry: Entry, folder: int, name: str) -> None:
        with os.fdopen(os.open(name, _FILE, 0o600, dir_fd=folder), "wb") as file:
            for chunk in entry.chunks():
                file.write(chunk)
            file.flush()
            self._finish(file.fileno(), entry)

    def _finish(self, descriptor: int, entry: Entry) -> None:
        if self._first is not None:
            os.fchown(descriptor, self._first + entry.uid, self._first + entry.gid)
        os.fchmod(descriptor, entry.mode)  # after its owner, which takes the setuid bit away
        os.utime(descriptor, (entry.mtime, entry.mtime))

    def _finish_name(self, entry: Entry, folder: int, name: str) -> None:
        """Of what must not be opened."""
        if self._first is not None:
            ids = (self._first + entry.uid, self._first + entry.gid)
            os.chown(name, *ids, dir_fd=folder, follow_symlinks=False)
        if entry.kind is not Kind.LINK:
            os.chmod(name, entry.mode, dir_fd=folder)
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    @contextmanager
    def _opened(self, parts: Parts, *, make: bool = False) -> Iterator[int]:
        """A descriptor of this folder; `make`: it, and those above it, where they are not there."""
        current = os.dup(self._root)
        try:
            for part in parts:
                if make and not _is_there(part, current):
                    os.mkdir(part, 0o700, dir_fd=current)
                    os.chmod(part, 0o755, dir_fd=current)  # noqa: S103  # whatever the umask
                inner = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)


def _is_there(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
