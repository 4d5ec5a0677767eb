"""The folder of one sliver on its node, and how it is removed again.

    DIRECTORY/SLICE/sliver.json   what it is (never seen inside)
    DIRECTORY/SLICE/keeper.json   which process keeps it
    DIRECTORY/SLICE/etc/          its /etc, read-only inside
    DIRECTORY/SLICE/meminfo       its /proc/meminfo, read-only inside
    DIRECTORY/SLICE/seccomp.json  the rules for its system calls, as podman takes them
    DIRECTORY/SLICE/home/ tmp/ var/log/ …   the sliver's own: no process outside ever opens a path below them
    DIRECTORY/SLICE/root/         what it changed of its root file system, where it has one (`inside.root`)

A prepared sliver is the same under the name `.nameless-UID-NUMBER`, without records; one that is removed, under
`.removed-UID-SLICE-NUMBER`.

DIRECTORY is 0700, the node manager's. Removal runs the host's own chmod and find with the sliver's uid, on folders
whose processes are all dead: neither follows a link.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from nodemgr.slivers.drivers.driver import SliverSpec
from nodemgr.slivers.inside.view import VAR
from nodemgr.slivers.limits import hostranges
from nodemgr.slivers.limits.disk import IMAGE
from nodemgr.slivers.process.processes import Process
from nodemgr.slivers.process.spawn import run_helper
from rpc.files import replace_file
from trust.errors import Code, Refusal
from trust.names import check_slice_name

log = logging.getLogger(__name__)
T = TypeVar("T")
_TRASH = ".removed-"
_NAMELESS = ".nameless-"
_FILE_KIB = 16  # what a file system for general use has a file for (mke2fs(8))
_OWN = ("home", "tmp", "root", *(f"var/{name}" for name in VAR))  # where a sliver's own files are
# Why a whole file may be out of reach for a while: that is the node manager's trouble, not the file's.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Record:
    """What stays true of a sliver while it exists; its limits may change."""

    slice: str
    slice_id: UUID
    hostname: str
    memory_mb: int
    processes: int
    host_uid: int | None
    image: str | None = None  # the folder that its root file system begins as
    disk_mb: int | None = None
    cpu: int = 100

    @classmethod
    def of(cls, spec: SliverSpec, host_uid: int | None) -> Record:
        image = str(spec.image.root) if spec.image else None
        limits = (spec.memory_mb, spec.processes)
        return cls(spec.slice, spec.slice_id, spec.hostname, *limits, host_uid, image, spec.disk_mb, spec.cpu)


class SliverFolder:
    """Paths and records of one sliver. Nothing here starts or ends a process of the sliver."""

    def __init__(self, directory: Path, slice: str) -> None:
        """Refusal(BAD_INPUT) for what is no slice name: it becomes a path."""
        self._lie_at(directory / check_slice_name(slice))

    @classmethod
    def called(cls, path: Path) -> Self:
        """One whose name is not its slice's, or not yet."""
        made = cls.__new__(cls)
        made._lie_at(path)
        return made

    @classmethod
    def nameless(cls, directory: Path, host_uid: int | None) -> Self:
        """A new one for a prepared sliver."""
        return cls.called(directory / f"{_NAMELESS}{_owner_name(host_uid)}-{uuid.uuid4().hex}")

    def become(self, slice: str) -> None:
        """Rename it, whole as it is. OSError where another is there."""
        path = self.path.with_name(check_slice_name(slice))
        self.path.rename(path)
        self._lie_at(path)

    def _lie_at(self, path: Path) -> None:
        self.path = path
        self.home = path / "home"
        self.tmp = path / "tmp"
        self.var = path / "var"
        self.etc = path / "etc"

    def make(self, host_uid: int | None) -> None:
        """Make the folders; home and tmp belong to the sliver."""
        self.path.mkdir(mode=0o700)
        for folder in (self.home, self.tmp):
            folder.mkdir(mode=0o700)
            folder.chmod(0o700 if folder == self.home else 0o1777)
            if host_uid is not None:
                os.chown(folder, host_uid, host_uid)

    def make_var(self) -> None:
        """Make the folders of /var, unless they are there. They are the sliver's, and the folder around them is not."""
        owner = self.owner()
        for name in VAR:
            folder = self.var / name
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(0o755)
                if owner is not None:
                    os.chown(folder, owner, owner)

    def owner(self) -> int | None:
        """The host user that the sliver's home belongs to, whatever its record says; None: our own, or no home."""
        try:
            uid = self.home.stat(follow_symlinks=False).st_uid
        except FileNotFoundError:
            return None
        return None if uid == os.geteuid() else hostranges.root_of(uid)

    def record(self) -> Record | None:
        """What was written by `write`; None when there is no whole sliver here. Refusal(INTERNAL): it is damaged."""
        return self._read("sliver.json", lambda stored: Record(**stored | {"slice_id": UUID(stored["slice_id"])}))

    def write(self, record: Record, *, durable: bool = True) -> Path:
        """Replace the record in one step; its file."""
        stored = dataclasses.asdict(record) | {"slice_id": str(record.slice_id)}
        path = self.path / "sliver.json"
        replace_file(path, json.dumps(stored).encode(), durable=durable)
        return path

    def keeper(self) -> Process | None:
        """The keeper that was started last, alive or not; None when there never was one, or it was ended on purpose.

        Refusal(INTERNAL): its record is damaged.
        """
        return self._read("keeper.json", lambda stored: Process(**stored))

    def write_keeper(self, keeper: Process | None) -> None:
        """Remember the keeper before anything enters it; None forgets it."""
        path = self.path / "keeper.json"
        if keeper is None:
            path.unlink(missing_ok=True)
        else:
            # Of no use after a power cut, with which the keeper ends too.
            replace_file(path, json.dumps(dataclasses.asdict(keeper)).encode(), durable=False)

    def put_aside(self, *names: str) -> None:
        """Take these folders of the sliver's own away, to be removed with what `remove` left."""
        away = self.path.with_name(f"{_TRASH}{_owner_name(self.owner())}-{self.path.name}-{uuid.uuid4().hex}")
        away.mkdir(mode=0o700)
        for name in names:
            if (self.path / name).exists():
                (self.path / name).rename(away / name)

    def discard_rests(self) -> None:
        """Remove what was put aside of a sliver of this name."""
        for away in self.path.parent.glob(f"{_TRASH}*-{self.path.name}-*"):
            discard(away)

    def remove(self) -> None:
        """Remove everything, and what an earlier removal of that name could not. The name is free at once, even if
        emptying a big home takes a while; what has taken too long goes on where it was when this is called again."""
        if self.path.exists():
            name = f"{_TRASH}{_owner_name(self.owner())}-{self.path.name}-{uuid.uuid4().hex}"
            self.path.rename(self.path.with_name(name))
        self.discard_rests()

    def disk_kib(self) -> int:
        """KiB of the sliver's own files, those in folders that it has shut included; 0 when it is not there. A file
        counts as `_FILE_KIB` at least, for a disk can be full of files, too.

        The host's du, with the sliver's uid and the right to read: it follows no link.
        """
        with suppress(FileNotFoundError):
            return (self.path / IMAGE).stat().st_blocks // 2
        if not self.home.is_dir():
            return 0
        owner = self.owner()
        read = "-all,+dac_read_search"
        rights = [f"--bounding-set={read}", f"--inh-caps={read}", f"--ambient-caps={read}"]
        become = ["unshare", "--user", "--map-root-user", "--"]  # of its files alone
        if os.geteuid() == 0:
            become = ["setpriv", f"--reuid={owner or 0}", f"--regid={owner or 0}", "--clear-groups", *rights, "--"]
        own = [name for name in _OWN if (self.path / name).is_dir()]
        kib, files = (self._counted([*become, "du", how, "-s", "-x", "-c", "--", *own]) for how in ("-k", "--inodes"))
        return max(kib, files * _FILE_KIB)

    def _counted(self, du: list[str]) -> int:
        said = run_helper(du, "the sliver's files cannot be counted", cwd=self.path)
        return int(said.splitlines()[-1].split()[0])

    def _read(self, name: str, made: Callable[[dict[str, Any]], T]) -> T | None:
        path = self.path / name
        try:
            return made(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno in _SCARCE:
                raise
            slice = self.path.name
            raise Refusal(
                Code.INTERNAL, f"the node's record of the sliver of {slice} is damaged ({name}); svm newvms {slice}"
            ) from error


def _owner_name(host_uid: int | None) -> str:
    return "own" if host_uid is None else str(host_uid)


def first_pids(directory: Path) -> Iterator[int]:
    """Those of the slivers in there that run."""
    for path in directory.glob("[a-z]*"):
        with suppress(Refusal):
            keeper = SliverFolder.called(path).keeper()
            if keeper is not None and keeper.alive:
                yield keeper.pid


def sweep(directory: Path) -> None:
    """Finish the removals that a dying node manager left behind, and remove what it had prepared; one that cannot be
    finished keeps nobody from it."""
    for away in [*directory.glob(f"{_TRASH}*"), *directory.glob(f"{_NAMELESS}*")]:
        try:
            discard(away)
        except (OSError, Refusal) as error:
            log.warning("%s is not removed yet: %s", away, error)


def discard(away: Path) -> None:
    """Empty and remove one folder that `SliverFolder.remove` put aside, or that has no name yet."""
    owner = away.name.split("-")[1]
    empty(away, _OWN, None if owner == "own" else int(owner))
    shutil.rmtree(away)


def empty(place: Path, names: Sequence[str], host_uid: int | None) -> None:
    """Remove these folders of a sliver's own, which has no process: with what may not be read, at any depth, of any
    name."""
    own = [name for name in names if (place / name).is_dir()]
    if hostranges.is_ours(host_uid):  # its files belong to many
        rights = ["setpriv", "--bounding-set=-all,+dac_override,+fowner", "--inh-caps=-all", "--"]
        if own:
            _run_removal([*rights, "find", *own, "-delete"], place)
        return
    drop = [] if host_uid is None else ["setpriv", f"--reuid={host_uid}", f"--regid={host_uid}", "--clear-groups", "--"]
    for name in own:
        (place / name).chmod(0o700)
        # chmod goes first, and says nothing of what it cannot change: find will.
        shell = "chmod -R -f u+rwX .; exec find . -mindepth 1 -delete"
        _run_removal([*drop, "/bin/sh", "-c", shell], place / name)
        (place / name).rmdir()


def _run_removal(command: Sequence[str], place: Path) -> None:
    run_helper(command, "the sliver's files could not all be removed", cwd=place)
