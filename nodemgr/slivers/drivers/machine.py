"""Slivers that are machines: an ordinary user with the slice's name, root beside it, and a root file system that both
may change (docs/slivers.md, "Drivers"). For a node manager that is root.

The keeper's namespaces are made in five steps: a user namespace with a range of host ids (`userids`); the root file
system, in a mount namespace of a thread (`inside.root`); util-linux's unshare for the other namespaces; a script that
gives a fresh sliver its names; and the first process itself, with no more capabilities than root needs inside.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from nodemgr.slivers.drivers.driver import TERMS, Likeness, Terms
from nodemgr.slivers.drivers.keeper import KeeperDriver, ceilings, hostname
from nodemgr.slivers.drivers.unshare import unshare_command
from nodemgr.slivers.inside import base, etc, machine
from nodemgr.slivers.inside.folder import Record, SliverFolder, empty
from nodemgr.slivers.inside.root import TTY_GROUP, Parts, Spoilt, built
from nodemgr.slivers.inside.view import Bind, Entry
from nodemgr.slivers.limits import hostranges, seccomp
from nodemgr.slivers.limits.cgroups import SPARE_PROCESSES, Ceilings
from nodemgr.slivers.limits.disk import IMAGE, Disks, mount_command
from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.launch import Nameless, as_host_user, launch, launch_nameless, program
from nodemgr.slivers.process.processes import Process, namespace
from nodemgr.slivers.process.session import AT_HOME, NamespaceDoor, Terminal
from nodemgr.slivers.process.spawn import run_helper
from nodemgr.slivers.process.userids import user_namespace
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)
T = TypeVar("T")
Start = Callable[[list[str], str, bytes, Callable[[int], None]], T]


class MachineDriver(KeeperDriver):
    """Slivers with root inside. Those that another keeper driver made in the same folder go on as they are.

    Raises:
        Refusal: INTERNAL when this host cannot, and what it lacks.
    """

    name = "machine"
    images = True
    tools = ("unshare", "nsenter", "setpriv", "prlimit", "setsid", "mount", "hostname", "chroot", "env", "cat")

    def __init__(self, directory: Path, terms: Terms = TERMS) -> None:
        self._ranges, self._shared = hostranges.available(directory), hostranges.shared()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._base = base.prepare()
            self._try(directory.resolve())
        except OSError as error:
            raise Refusal(Code.INTERNAL, f"this node cannot give slivers a root file system: {error}") from error
        # Whatever root makes of the programs with which a session gives up its rights: no mount, no namespace.
        own = terms.user_namespaces  # in which they mount what they like
        self._session_filter = seccomp.available(user_namespaces=own, mounts=own)
        super().__init__(directory, terms)
        if self._shared:
            self._end_out_of_reach()

    @property
    def quota(self) -> str:  # type: ignore[override]
        return "hard" if self._disks else "watched"

    @cached_property
    def _disks(self) -> Disks | None:
        """None where there can be none."""
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

    def host_uids(self) -> Iterable[int]:
        return self._ranges

    def give_uid(self) -> int | None:
        return self._shared or super().give_uid()

    def _end_out_of_reach(self) -> None:
        """Slivers of the same user's that were made without its subordinate ids cannot be entered with them: they end
        here, and are started again like any other that does not run when its node starts."""
        for slice, keeper in self._recorded().items():
            if namespace(keeper.pid, "user") is None:
                log.warning("the sliver of %s was made without subordinate ids and is started anew", slice)
                keeper.kill()

    def furnish(self, sliver: SliverFolder, names: etc.Names) -> None:
        if not hostranges.is_ours(sliver.owner()):
            super().furnish(sliver, names)
            return
        machine.write_node_part(sliver.etc)

    def write_names(self, sliver: SliverFolder, names: etc.Names) -> None:
        """The first process writes them, inside."""

    def write_key(
        self, sliver: SliverFolder, private: str, public: str, host_uid: int | None, *, durable: bool = True
    ) -> list[Path]:
        shift = self._shared or 0  # else it is shifted as all that is shown of ours
        owner = machine.USER + shift if hostranges.is_ours(host_uid) else host_uid
        return super().write_key(sliver, private, public, owner, durable=durable)

    def make_home(self, sliver: SliverFolder, record: Record) -> None:
        """The place for it: the first process makes it, inside."""
        self._make_disk(sliver, record.disk_mb)

    def _make_disk(self, sliver: SliverFolder, mb: int | None) -> None:
        if mb and self._disks:
            self._disks.make(sliver.path / IMAGE, mb)

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        return unshare_command(hostname, view, nameless=nameless)

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        if not hostranges.is_ours(record.host_uid):
            return super().hold(record, view)
        try:
            sliver = SliverFolder(self.directory, record.slice)
            words = (hostname(record.hostname), record.slice)
            return self._begin(sliver, record.image, words, ceilings(record), launch)
        except BaseException as error:
            self.end_unrecorded((), record.slice)
            if isinstance(error, Spoilt):
                mend = f"svm reset {record.slice} {record.hostname} gives it a fresh one"
                raise Refusal(error.code, f"{error.reason}; {mend}") from error
            raise

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> Nameless:
        try:
            sliver, limits = SliverFolder.called(self.directory / name), Ceilings(like.memory_mb, like.processes)
            self._make_disk(sliver, like.disk_mb)
            return self._begin(sliver, None, (hostname(like.hostname), ""), limits, launch_nameless)
        except BaseException:
            self.end_unrecorded((), name)
            raise

    def door(self, record: Record, keeper: Process) -> NamespaceDoor:
        found = super().door(record, keeper)
        if not hostranges.is_ours(record.host_uid):
            return found
        return MachineDoor(found.slice, found.keeper, found.host_uid, found.join, found.limits, self._session_filter)

    def boot_door(self, record: Record, keeper: Process) -> NamespaceDoor:
        found = self.door(record, keeper)
        if not isinstance(found, MachineDoor):
            return found
        return RootDoor(found.slice, found.keeper, found.host_uid, found.join, found.limits, found.filter)

    async def reset(self, slice: str) -> None:
        await self._work(slice, lambda: self._reset(slice))

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

    def _begin(
        self, sliver: SliverFolder, image: str | None, words: tuple[str, str], limits: Ceilings, start: Start[T]
    ) -> T:
        """Mount a sliver's root file system and have `start` (`launch` or `launch_nameless`) run the command that makes
        its first process.

        Args:
            words: hostname; slice, empty where it is not known yet.
        """
        name, first = sliver.path.name, sliver.owner()
        if first is None:
            mend = f"svm shrink {words[1]} NODE gives it back, and svm createslice makes another"
            raise Refusal(Code.INTERNAL, f"the sliver's files are gone from {sliver.path}; {mend}")
        etc.write_first_process(sliver.etc, self._shared, machine.first_process(Path(image) if image else None))
        join, shown = self._bounded(name, limits, ())

        def started(host: int) -> T:
            with user_namespace(first, limits.processes + SPARE_PROCESSES) as (holder, users):
                enter = [program("nsenter"), "--preserve-credentials", "-U", "-t", str(holder), "--"]
                parts = self._parts(sliver, image, self._mounted_volume(sliver), shown, first)
                script = machine.script(
                    *words, etc.machine_id(sliver.etc), fresh=parts.fresh, closed=not self.terms.user_namespaces
                )
                parts.make()
                with built(parts, None if self._shared else users, host) as finish:
                    if self._filter:
                        seccomp.load(self._filter)  # of this thread alone, which ends with this
                    return start([*join, *as_host_user(first), *enter, *script], self.mark + name, b"", finish)

        try:
            return mounts.apart(started)
        except OSError as error:
            raise Refusal(Code.INTERNAL, f"the sliver's root file system cannot be mounted: {error}") from error

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

    def _parts(
        self, sliver: SliverFolder, image: str | None, volume: Path, shown: Sequence[Entry], first: int
    ) -> Parts:
        layers = base.image_layers(Path(image)) if image else self._base
        if not image:
            base.use(layers)
        python = etc.python_folder()
        binds = [Bind(sliver.etc / "slice", "/etc/slice"), Bind(self._ssh, "/etc/slice/hosts")]
        binds += [Bind(python, "/opt/python")] if python else []
        binds += [each for each in shown if isinstance(each, Bind)]
        return Parts(layers, volume, binds, first)

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
class MachineDoor(NamespaceDoor):
    """The same for a sliver with users of its own: the session is the slice's."""

    @property
    def terminal_owner(self) -> tuple[int, int]:
        first = self.host_uid or 0
        return first + machine.USER, first + TTY_GROUP

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return machine.environment(self.slice, variables)

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        login = ["/bin/sh", "-c", machine.LOGIN, "sh"]
        return [*self.entry(terminal), *login, *self.limits, *AT_HOME, *argv]


@dataclass(frozen=True, slots=True)
class RootDoor(MachineDoor):
    """The same for root, at the start of the sliver."""

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        bounded = ["/usr/bin/setpriv", *machine.BOUNDS, "--"]
        return [*self.entry(terminal), *bounded, *self.limits, *AT_HOME, *argv]


def _mounted_once(parts: Parts, users: int | None, host: int) -> None:
    with built(parts, users, host):
        pass
