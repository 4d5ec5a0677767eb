"""What drivers share whose slivers are machines (docs/slivers.md, "A machine"): a range of host users for each sliver,
a root file system of its own over the node's programs or an image, and a disk for it.

How the first process comes to have that root file system is the driver's own.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nodemgr.slivers.drivers.driver import TERMS, Terms
from nodemgr.slivers.drivers.life import LocalDriver
from nodemgr.slivers.inside import base, etc, machine
from nodemgr.slivers.inside.folder import Record, SliverFolder, empty
from nodemgr.slivers.inside.root import TTY_GROUP, Parts, Spoilt, built
from nodemgr.slivers.inside.view import Bind, Entry
from nodemgr.slivers.limits import hostranges
from nodemgr.slivers.limits.cgroups import SPARE_PROCESSES
from nodemgr.slivers.limits.disk import IMAGE, Disks, mount_command
from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.session import OneUser
from nodemgr.slivers.process.spawn import run_helper
from nodemgr.slivers.process.userids import user_namespace
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)

LOGIN = ("/bin/sh", "-c", machine.LOGIN, "sh")
"""Command prefix, inside, that turns a machine's root into the session's user."""


class RootedDriver(LocalDriver):
    """New slivers are machines once `open_roots` has said that they can be. Those that were made with one user go on as
    they are."""

    terms: Terms = TERMS
    _ranges: Iterable[int] = ()
    _shared: int | None = None
    _base: Sequence[base.Layer] = ()

    def open_roots(self, directory: Path) -> None:
        """Find out whether this host can, before all else of the driver is made.

        Raises:
            Refusal: INTERNAL when it cannot, and what it lacks.
        """
        self._ranges, self._shared = hostranges.available(directory), hostranges.shared()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._base = base.prepare()
            self._try(directory.resolve())
        except OSError as error:
            raise Refusal(Code.INTERNAL, f"this node cannot give slivers a root file system: {error}") from error
        self.images = True

    @property
    def quota(self) -> str:  # type: ignore[override]
        return "hard" if self._disks else "watched"

    @cached_property
    def _disks(self) -> Disks | None:
        """None where there can be none."""
        if not self.images:
            return None
        try:
            reserve, overcommit = self.terms.disk_reserve_mb, self.terms.disk_overcommit
            return Disks(self.directory, reserve_mb=reserve, overcommit=overcommit)
        except Refusal as refusal:
            log.warning("slivers have no disks of their own here: %s", refusal.reason)
            return None

    @property
    def owed_mb(self) -> int:  # type: ignore[override]
        return self._disks.promise().owed >> 20 if self._disks else 0

    @property
    def taken_mb(self) -> int:  # type: ignore[override]
        return self._disks.promise().taken >> 20 if self._disks else 0

    def host_uids(self) -> Iterable[int] | None:
        return self._ranges if self.images else super().host_uids()

    def give_uid(self) -> int | None:
        return self._shared or super().give_uid()

    def furnish(self, sliver: SliverFolder, names: etc.Names) -> None:
        if not hostranges.is_ours(sliver.owner()):
            super().furnish(sliver, names)
            return
        machine.write_node_part(sliver.etc)

    def write_names(self, sliver: SliverFolder, names: etc.Names) -> None:
        """A machine's are written inside."""
        if not self.images:
            super().write_names(sliver, names)

    def write_key(
        self, sliver: SliverFolder, private: str, public: str, host_uid: int | None, *, durable: bool = True
    ) -> list[Path]:
        shift = self._shared or 0  # else it is shifted as all that is shown of ours
        owner = machine.USER + shift if hostranges.is_ours(host_uid) else host_uid
        return super().write_key(sliver, private, public, owner, durable=durable)

    def make_home(self, sliver: SliverFolder, record: Record) -> None:
        """A machine's is made inside; here is the place for it."""
        if self.images:
            self.make_disk(sliver, record.disk_mb)
        else:
            super().make_home(sliver, record)

    def make_disk(self, sliver: SliverFolder, mb: int | None) -> None:
        if mb and self._disks:
            self._disks.make(sliver.path / IMAGE, mb)

    async def reset(self, slice: str) -> None:
        if not self.images:
            return await super().reset(slice)
        return await self._work(slice, lambda: self._reset(slice))

    def _reset(self, slice: str) -> None:
        sliver, record = self._existing(slice)
        if not hostranges.is_ours(record.host_uid):
            raise Refusal(
                Code.NOT_ALLOWED, f"the sliver of {slice} has no root file system of its own; one made anew does"
            )
        ran = self._keeper(slice) is not None
        self._stop(slice)
        if (sliver.path / IMAGE).exists():
            mounts.apart(lambda _: empty(self._mounted_volume(sliver), ("root", "tmp"), record.host_uid))
        else:
            sliver.put_aside("root", "tmp")
        if ran:
            self._start(slice)
        sliver.discard_rests()

    def parts(self, sliver: SliverFolder, image: str | None, shown: Sequence[Entry], first: int) -> Parts:
        """What its root file system is made of, with its disk mounted; within `mounts.apart`.

        Args:
            image: the folder that it begins as; None for what stands on the node.
            shown: what else of the host is seen inside.
            first: the host user of its root.
        """
        layers = base.image_layers(Path(image)) if image else self._base
        if not image:
            base.use(layers)
        python = etc.python_folder()
        binds = [Bind(sliver.etc / "slice", "/etc/slice"), Bind(self._ssh, "/etc/slice/hosts")]
        binds += [Bind(python, "/opt/python")] if python else []
        binds += [each for each in shown if isinstance(each, Bind)]
        return Parts(layers, self._mounted_volume(sliver), binds, first)

    def _mounted_volume(self, sliver: SliverFolder) -> Path:
        """Where the sliver's own files are: on a disk of its own, if it has one, which this mounts (`mounts.apart`)."""
        image = sliver.path / IMAGE
        if not image.exists():
            return sliver.path
        if self._disks is None:
            raise Refusal(Code.INTERNAL, "the sliver's disk cannot be mounted here any more; see the node's log")
        place = sliver.path / "disk"
        place.mkdir(exist_ok=True)
        with self._disks.attached(image) as device:
            run_helper(mount_command(device, place), "the sliver's disk cannot be mounted")
        return place

    def _try(self, directory: Path) -> None:
        """Mount one, without a process in it. OSError, Refusal when that does not work here."""
        first = next(iter(self._ranges))
        trial = SliverFolder.nameless(directory, first)
        ssh = directory / ".ssh"
        try:
            trial.make(first)
            (trial.etc / "slice/hosts").mkdir(parents=True)
            ssh.mkdir(exist_ok=True)
            binds = [Bind(trial.etc / "slice", "/etc/slice"), Bind(ssh, "/etc/slice/hosts")]
            parts = Parts(self._base, trial.path, binds, first)
            parts.make()
            with user_namespace(parts.first, SPARE_PROCESSES) as (_, users):
                mounts.apart(lambda host: _mounted_once(parts, None if self._shared else users, host))
        finally:
            shutil.rmtree(trial.path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class OwnUsers(OneUser):
    """What a door into a machine has instead."""

    @property
    def terminal_owner(self) -> tuple[int, int]:
        first = self.host_uid or 0
        return first + machine.USER, first + TTY_GROUP

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return machine.environment(self.slice, variables)


def root_user(sliver: SliverFolder, slice: str) -> int:
    """The host user of a machine's root. Refusal(INTERNAL) when its files are gone."""
    first = sliver.owner()
    if first is None:
        mend = f"svm shrink {slice} NODE gives it back, and svm createslice makes another"
        raise Refusal(Code.INTERNAL, f"the sliver's files are gone from {sliver.path}; {mend}")
    return first


@contextmanager
def saying_what_mends(record: Record) -> Iterator[None]:
    """Has a refusal for what its owner broke say what they can do about it."""
    try:
        yield
    except Spoilt as error:
        mend = f"svm reset {record.slice} {record.hostname} gives it a fresh one"
        raise Refusal(error.code, f"{error.reason}; {mend}") from error


def _mounted_once(parts: Parts, users: int | None, host: int) -> None:
    with built(parts, users, host):
        pass
