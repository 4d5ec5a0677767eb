"""The folder of a machine's images: one is there whole or not at all, and none goes that a lease stands on."""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from admin.images.digest import digest_of
from admin.images.sources import Entry
from admin.images.tree import Tree
from nodemgr.images import ABOUT, ROOT, Kept, kept, users
from nodemgr.slivers.limits import hostranges
from rpc.files import sync_folder, write_file
from trust.errors import Code, Refusal
from trust.needs import IMAGE

# What names begin with while it is being made or removed, and while it is looked at whether it may be removed.
_UNFINISHED, _ASIDE = ".unfinished-", ".aside-"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Added:
    """An image that is there now; `left_out`: devices, which root alone can make."""

    image: Kept
    left_out: int


@dataclass(frozen=True, slots=True)
class Store:
    """The images in `folder`, which is made where it is missing.

    Raises:
        Refusal: BAD_INPUT when others may look into the folder: images have programs that run as root for whoever can
            start them.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_mode & 0o077:
            reason = f"others may look into {self.folder}, whose programs may run as root: chmod 700 {self.folder}"
            raise Refusal(Code.BAD_INPUT, reason)

    def images(self) -> list[Kept]:
        return kept(self.folder)

    def add(self, name: str, entries: Callable[[], Iterable[Entry]], now: datetime) -> Added:
        """Make one of what there is in a tar or a folder.

        Raises Refusal: BAD_INPUT (a wrong name, an unsafe source), NAME_TAKEN, DISK_FULL; nothing is left over.
        """
        if not IMAGE.fullmatch(name):
            raise Refusal(Code.BAD_INPUT, f"{name!a} is no name of an image: 1 to 63 of a-z, 0-9, '.', '_' and '-'")
        with self._locked():
            if os.path.lexists(self.folder / name):
                reason = f"there is an image {name} already: choose another name, or dslice image remove {name} first"
                raise Refusal(Code.NAME_TAKEN, reason)
            with self._fresh() as fresh:
                added = _write(fresh, name, entries(), now)
                os.rename(fresh, self.folder / name)
                sync_folder(self.folder)
        return added

    def remove(self, name: str) -> None:
        """Raises Refusal: NOT_FOUND, BUSY while a node has a lease or a sliver of it."""
        with self._locked():
            if name not in {image.name for image in self.images()}:
                raise Refusal(Code.NOT_FOUND, f"there is no image {name!a}: dslice image list shows what there is")
            # Out of the nodes' sight before they are looked at: no lease on it is granted from now on.
            aside = self.folder / f"{_ASIDE}{name}"
            os.rename(self.folder / name, aside)
            try:
                _refuse_used(self.folder, name)
            except BaseException:
                os.rename(aside, self.folder / name)
                raise
            with self._fresh() as fresh:
                os.rename(aside, fresh)
                sync_folder(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time makes or removes; what the last one left unfinished is put right."""
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path in self.folder.glob(f"{_UNFINISHED}*"):
                _remove(path)
            for path in self.folder.glob(f"{_ASIDE}*"):
                os.rename(path, path.with_name(path.name.removeprefix(_ASIDE)))
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _fresh(self) -> Iterator[Path]:
        """A folder that is gone at the end, unless it has another name then."""
        fresh = self.folder / f"{_UNFINISHED}{uuid4().hex}"
        fresh.mkdir(mode=0o700)
        try:
            yield fresh
        finally:
            if fresh.exists():
                _remove(fresh)


def _write(fresh: Path, name: str, entries: Iterable[Entry], now: datetime) -> Added:
    """An image's folder, on disk. Refusal(DISK_FULL) when it cannot be."""
    root, first = fresh / ROOT, hostranges.shared()
    as_root = os.geteuid() == 0
    try:
        root.mkdir(mode=0o755)
        root.chmod(0o755)  # whatever the umask
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            tree = Tree(descriptor, first=(first or 0) if as_root else None, devices=as_root and first is None)
            tree.write(entries)
            _sync(descriptor)
        finally:
            os.close(descriptor)
        found = digest_of(root, first=first or 0, owner=None if as_root else os.geteuid())
        about = Kept(name, found.digest, found.size, found.files, now.replace(microsecond=0))
        write_file(fresh / ABOUT, about.to_json().encode())
        sync_folder(fresh)
    except OSError as error:
        raise Refusal(Code.DISK_FULL, f"{fresh.parent} cannot hold the image: {error.strerror}; make room") from error
    return Added(about, tree.left_out)


def _refuse_used(folder: Path, name: str) -> None:
    used = list(users(folder, name))
    if used:
        node, slices = used[0]
        more = f" and {len(used) - 1} more" if len(used) > 1 else ""
        reason = f"{name} is in use by {', '.join(slices[:3])} on {node}{more}: try again when they are gone"
        raise Refusal(Code.BUSY, reason)


def _sync(descriptor: int) -> None:
    """All that the file system of this descriptor has, on disk (syncfs(2)): ten thousand files at once."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _remove(folder: Path) -> None:
    """All of it, closed folders too."""
    for path, _, _ in os.walk(folder):
        if not os.access(path, os.W_OK | os.X_OK):
            os.chmod(path, 0o700)
    shutil.rmtree(folder)
