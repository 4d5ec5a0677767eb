"""What makes two root file systems the same: the SHA-256 of all that is in a tree, whatever wrote it.

For each path, in the order of its names' bytes, these fields, each ended by a NUL: kind, path, mode in octal, user,
group, and what is in it (a file's SHA-256, a link's target, a device's numbers). Times do not count, nor do extended
attributes, nor how often a file has a name.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree's SHA-256 in hexadecimal, the bytes of its files, and how many names there are in it."""

    digest: str
    size: int
    files: int


def digest_of(root: Path, *, first: int = 0, owner: int | None = None) -> Tree:
    """Of the tree at `root`, the root folder itself included.

    Args:
        first: the user and group that count as root's; the others are the numbers after it.
        owner: a user whose files count as root's: who is not root cannot give files to anybody else.
    """
    whole, seen, files = hashlib.sha256(), _Contents(), 0
    for path, found in _walk(os.fsencode(root)):
        name = os.path.relpath(path, os.fsencode(root))
        ids = (0, 0) if found.st_uid == owner else (found.st_uid - first, found.st_gid - first)
        fields = [_kind(found), name, b"%o" % stat.S_IMODE(found.st_mode), b"%d" % ids[0], b"%d" % ids[1]]
        for each in (*fields, seen.of(path, found)):
            whole.update(each + b"\0")
        files += 1
    return Tree(whole.hexdigest(), seen.size, files)


def _walk(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    found = os.lstat(path)
    yield path, found
    if stat.S_ISDIR(found.st_mode):
        for name in sorted(os.listdir(path)):
            yield from _walk(os.path.join(path, name))


def _kind(found: os.stat_result) -> bytes:
    return stat.filemode(found.st_mode)[0].encode()


class _Contents:
    """What is in files, each read once however many names it has; the bytes of all of them."""

    def __init__(self) -> None:
        self.size = 0
        self._known: dict[int, bytes] = {}

    def of(self, path: bytes, found: os.stat_result) -> bytes:
        if stat.S_ISLNK(found.st_mode):
            return os.readlink(path)
        if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            return b"%d:%d" % (os.major(found.st_rdev), os.minor(found.st_rdev))
        if not stat.S_ISREG(found.st_mode):
            return b""
        if found.st_ino not in self._known:
            self.size += found.st_size
            self._known[found.st_ino] = _sha256(path, found).encode()
        return self._known[found.st_ino]


def _sha256(path: bytes, found: os.stat_result) -> str:
    sum_ = hashlib.sha256()
    with _readable(path, found), open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            sum_.update(chunk)
    return sum_.hexdigest()


@contextmanager
def _readable(path: bytes, found: os.stat_result) -> Iterator[None]:
    """Fedora's /etc/shadow has mode 0, which keeps out its owner who is not root."""
    mode = stat.S_IMODE(found.st_mode)
    if os.access(path, os.R_OK):
        yield
        return
    os.chmod(path, mode | stat.S_IRUSR)
    try:
        yield
    finally:
        os.chmod(path, mode)
