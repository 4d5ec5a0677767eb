"""Slivers that are machines: an ordinary user with the slice's name, root beside it, and a root file system that both
may change (docs/slivers.md, "Drivers"). For a node manager that is root.

The keeper's namespaces are made in five steps: a user namespace with a range of host ids (`userids`); the root file
system, in a mount namespace of a thread (`inside.root`); util-linux's unshare for the other namespaces; a script that
gives a fresh sliver its names; and the first process itself, with no more capabilities than root needs inside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nodemgr.slivers.drivers.driver import TERMS, Likeness, Terms
from nodemgr.slivers.drivers.keeper import KeeperDriver, ceilings, hostname
from nodemgr.slivers.drivers.rooted import LOGIN, OwnUsers, RootedDriver, root_user, saying_what_mends
from nodemgr.slivers.drivers.unshare import unshare_command
from nodemgr.slivers.inside import etc, machine
from nodemgr.slivers.inside.folder import Record, SliverFolder
from nodemgr.slivers.inside.root import built
from nodemgr.slivers.inside.view import Entry
from nodemgr.slivers.limits import hostranges, seccomp
from nodemgr.slivers.limits.cgroups import SPARE_PROCESSES, Ceilings
from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.launch import Nameless, as_host_user, launch, launch_nameless, program
from nodemgr.slivers.process.processes import Process, namespace
from nodemgr.slivers.process.session import AT_HOME, NamespaceDoor, Terminal
from nodemgr.slivers.process.userids import user_namespace
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)
T = TypeVar("T")
Start = Callable[[list[str], str, bytes, Callable[[int], None]], T]


class MachineDriver(RootedDriver, KeeperDriver):
    """Slivers with root inside. Those that another keeper driver made in the same folder go on as they are.

    Raises:
        Refusal: INTERNAL when this host cannot, and what it lacks.
    """

    name = "machine"
    tools = ("unshare", "nsenter", "setpriv", "prlimit", "setsid", "mount", "hostname", "chroot", "env", "cat")

    def __init__(self, directory: Path, terms: Terms = TERMS) -> None:
        self.open_roots(directory)
        # Whatever root makes of the programs with which a session gives up its rights: no mount, no namespace.
        own = terms.user_namespaces  # in which they mount what they like
        self._session_filter = seccomp.available(user_namespaces=own, mounts=own)
        super().__init__(directory, terms)
        if self._shared:
            self._end_out_of_reach()

    def _end_out_of_reach(self) -> None:
        """Slivers of the same user's that were made without its subordinate ids cannot be entered with them: they end
        here, and are started again like any other that does not run when its node starts."""
        for slice, keeper in self._recorded().items():
            if namespace(keeper.pid, "user") is None:
                log.warning("the sliver of %s was made without subordinate ids and is started anew", slice)
                keeper.kill()

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        return unshare_command(hostname, view, nameless=nameless)

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        if not hostranges.is_ours(record.host_uid):
            return super().hold(record, view)
        try:
            sliver = SliverFolder(self.directory, record.slice)
            words = (hostname(record.hostname), record.slice)
            with saying_what_mends(record):
                return self._begin(sliver, record.image, words, ceilings(record), launch)
        except BaseException:
            self.end_unrecorded((), record.slice)
            raise

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> Nameless:
        try:
            sliver, limits = SliverFolder.called(self.directory / name), Ceilings(like.memory_mb, like.processes)
            self.make_disk(sliver, like.disk_mb)
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

    def _begin(
        self, sliver: SliverFolder, image: str | None, words: tuple[str, str], limits: Ceilings, start: Start[T]
    ) -> T:
        """Mount a sliver's root file system and have `start` (`launch` or `launch_nameless`) run the command that makes
        its first process.

        Args:
            words: hostname; slice, empty where it is not known yet.
        """
        name, first = sliver.path.name, root_user(sliver, words[1])
        etc.write_first_process(sliver.etc, self._shared, machine.first_process(Path(image) if image else None))
        join, shown = self._bounded(name, limits, ())

        def started(host: int) -> T:
            with user_namespace(first, limits.processes + SPARE_PROCESSES) as (holder, users):
                enter = [program("nsenter"), "--preserve-credentials", "-U", "-t", str(holder), "--"]
                parts = self.parts(sliver, image, shown, first)
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


@dataclass(frozen=True, slots=True)
class MachineDoor(OwnUsers, NamespaceDoor):
    """The same for a sliver with users of its own: the session is the slice's."""

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        return [*self.entry(terminal), *LOGIN, *self.limits, *AT_HOME, *argv]


@dataclass(frozen=True, slots=True)
class RootDoor(MachineDoor):
    """The same for root, at the start of the sliver."""

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        bounded = ["/usr/bin/setpriv", *machine.BOUNDS, "--"]
        return [*self.entry(terminal), *bounded, *self.limits, *AT_HOME, *argv]
