"""What the bubblewrap and the unshare driver share: one keeper process per sliver, entered with nsenter."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from nodemgr.slivers.drivers.driver import TERMS, Likeness, News, Terms
from nodemgr.slivers.drivers.life import LocalDriver
from nodemgr.slivers.drivers.memory import MemoryNews
from nodemgr.slivers.inside import sysfs
from nodemgr.slivers.inside.folder import Record
from nodemgr.slivers.inside.view import Bind, Entry
from nodemgr.slivers.limits import cgroups, resident, seccomp
from nodemgr.slivers.limits.cgroups import Ceilings, Cgroups
from nodemgr.slivers.limits.meminfo import write_meminfo
from nodemgr.slivers.limits.rlimits import rlimits
from nodemgr.slivers.process.hangup import cut_off
from nodemgr.slivers.process.launch import Nameless, as_host_user, launch, launch_nameless, program, staged
from nodemgr.slivers.process.processes import (
    Process,
    boot_id,
    children,
    entrants,
    first_processes,
    namespace,
    start_time,
)
from nodemgr.slivers.process.session import NamespaceDoor
from nodemgr.slivers.process.spawn import run_helper
from trust.errors import Refusal


class KeeperDriver(LocalDriver):
    """A driver whose slivers are namespaces that one process each holds open.

    Raises:
        Refusal: INTERNAL when this host lacks one of `tools`.
    """

    tools: tuple[str, ...] = ()

    def __init__(self, directory: Path, terms: Terms = TERMS) -> None:
        for tool in self.tools:
            program(tool)
        self.terms = terms
        self._cgroups = cgroups.available(directory)
        self._filter = seccomp.available()
        # The program that makes the sliver's own user namespace is under it already; a switch closes others.
        self._first_filter = seccomp.available(user_namespaces=True)
        super().__init__(directory)
        if self._cgroups:
            self._cgroups.sweep()
        self._memory = MemoryNews(self._cgroups.killed() if self._cgroups else {})

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        """The command that makes the namespaces and the view, and runs `launch.KEEPER` (or `NAMELESS`) in them as PID
        1."""
        raise NotImplementedError

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        try:
            join, view = self._bounded(record.slice, ceilings(record), view)
            prefix, view = staged(view, record.host_uid)
            command = self.keeper_command(hostname(record.hostname), view, nameless=False)
            keeper = launch([*join, *prefix, *command], self.mark + record.slice, self._first_filter)
            close_user_namespaces(keeper.pid, record.host_uid)
        except BaseException:
            self.end_unrecorded((), record.slice)
            raise
        return keeper

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> Nameless:
        try:
            join, view = self._bounded(name, Ceilings(like.memory_mb, like.processes), view)
            prefix, view = staged(view, host_uid)
            command = self.keeper_command(hostname(like.hostname), view, nameless=True)
            first = launch_nameless([*join, *prefix, *command], self.mark + name, self._first_filter)
        except BaseException:
            self.end_unrecorded((), name)
            raise
        try:
            close_user_namespaces(first.process.pid, host_uid)
        except BaseException:
            self.end_first(first)
            raise
        return first

    def name_first(self, first: Nameless, record: Record) -> None:
        if self._cgroups and (group := self._cgroups.name(first.process.pid)):
            self._cgroups.limit(group, ceilings(record))
        first.call(record.slice, self.mark + record.slice)

    def end_first(self, first: Nameless, slice: str | None = None) -> None:
        try:
            self._end(first.process)  # before its streams, whose end would end it, and nothing would tell its group
        finally:
            first.streams.close()

    def let_go(self, slice: str, keeper: Process) -> None:
        inside = namespace(keeper.pid, "pid")  # not to be had any more once it is dying
        self._end(keeper, lambda: cut_off(entrants(inside) if inside else []))

    def _end(self, first: Process, unblock: Callable[[], None] = lambda: None) -> None:
        group = self._cgroups.name(first.pid) if self._cgroups else None
        first.kill(unblock)
        if self._cgroups:
            self._cgroups.drop(group)

    def _delete(self, slice: str) -> None:
        super()._delete(slice)
        if self._cgroups:  # that of a first process that died by itself is still there
            self._cgroups.sweep(os.listdir(self.directory))

    def _bounded(self, name: str, ceilings: Ceilings, view: Sequence[Entry]) -> tuple[tuple[str, ...], Sequence[Entry]]:
        """The command prefix with which the sliver in folder `name` is born in a group of its own; the view with what
        tells its share."""
        own = [Bind(write_meminfo(self.directory / name, ceilings.memory_mb), "/proc/meminfo")]
        own += sysfs.shown(self.directory / name)
        if self._cgroups is None:
            return (), [*view, *own]
        join = self._cgroups.make(name, ceilings)
        own += [
            Bind(folder, f"/sys/fs/cgroup/{kind}".rstrip("/")) for kind, folder in self._cgroups.shown(name).items()
        ]
        return join, [*view, *own]

    async def bound_memory(self) -> None:
        if self._cgroups is None:
            self._memory.add(Counter(await self._read(lambda: resident.look(self._kept()))))

    async def news(self) -> Sequence[News]:
        return [*await super().news(), *await self._read(self._memory_news)]

    def _memory_news(self) -> list[News]:
        if groups := self._cgroups:
            self._memory.count(groups.killed(), lambda: self._groups(groups))
        return self._memory.news()

    def _groups(self, groups: Cgroups) -> dict[str, str | None]:
        return {slice: groups.name(keeper.pid) for slice, keeper in self._recorded().items()}

    def _kept(self) -> list[resident.Bounded]:
        kept = {slice: (keeper, self._existing(slice)[1]) for slice, keeper in self._recorded().items()}
        return [resident.Bounded(slice, keeper, record.memory_mb) for slice, (keeper, record) in kept.items()]

    def door(self, record: Record, keeper: Process) -> NamespaceDoor:
        join = self._cgroups.join(self._cgroups.name(keeper.pid)) if self._cgroups else ()
        limits = rlimits(ceilings(record), grouped=bool(join))
        return NamespaceDoor(record.slice, keeper.pid, record.host_uid, join, limits, self._filter)

    def entrants(self, slice: str, keeper: Process) -> Sequence[int]:
        inside = namespace(keeper.pid, "pid")
        # unshare(1), which waits for the keeper itself, is none.
        return [pid for pid in entrants(inside) if keeper.pid not in children(pid)] if inside else []

    def end_unrecorded(self, recorded: Collection[int], slice: str | None = None) -> None:
        stuck = None
        for pid, marked in first_processes(self.mark).items():
            name, started = marked.removeprefix(self.mark), start_time(pid)
            if pid not in recorded and slice in (None, name) and started is not None:
                try:
                    self.let_go(name, Process(pid, started, boot_id()))
                except Refusal as refusal:
                    stuck = refusal
        if stuck is not None:
            raise stuck


def ceilings(record: Record) -> Ceilings:
    return Ceilings(record.memory_mb, record.processes, record.cpu)


def hostname(given: str) -> str:
    """As the kernel takes it and bwrap too."""
    return given.replace("_", "-")


def close_user_namespaces(keeper: int, host_uid: int | None, *, owned: bool = True) -> None:
    """Forbid new user namespaces inside: the part of the kernel that unprivileged users break most often.

    Args:
        keeper: the sliver's first process.
        host_uid: who its root is on the host; None: this node manager's own user.
        owned: whether that user made the sliver's user namespace; else root made it, and becomes its root inside.
    """
    limit = "/proc/sys/user/max_user_namespaces"
    become = [*as_host_user(host_uid), program("nsenter"), "--preserve-credentials"]
    if not owned:
        become = [program("nsenter"), "-S", "0", "-G", "0"]
    close = [*become, "-U", "-t", str(keeper), "--", "/bin/sh", "-c", f"echo 0 > {limit}"]
    run_helper(close, "the sliver's user namespaces cannot be closed")
