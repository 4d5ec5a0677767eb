"""What the bubblewrap and the unshare driver share: one keeper process per sliver, entered with nsenter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from nodemgr.slivers.drivers.driver import Likeness
from nodemgr.slivers.drivers.life import LocalDriver
from nodemgr.slivers.inside.folder import Record
from nodemgr.slivers.inside.view import Entry
from nodemgr.slivers.limits import cgroups, seccomp
from nodemgr.slivers.limits.rlimits import rlimits
from nodemgr.slivers.process.hangup import cut_off
from nodemgr.slivers.process.launch import Nameless, as_host_user, launch, launch_nameless, program, staged
from nodemgr.slivers.process.processes import Process, boot_id, entrants, first_processes, namespace, start_time
from nodemgr.slivers.process.session import NamespaceDoor
from nodemgr.slivers.process.spawn import run_helper
from trust.errors import Refusal


class KeeperDriver(LocalDriver):
    """A driver whose slivers are namespaces that one process each holds open.

    Raises:
        Refusal: INTERNAL when this host lacks one of `tools`.
    """

    tools: tuple[str, ...] = ()

    def __init__(self, directory: Path) -> None:
        for tool in self.tools:
            program(tool)
        self._cgroups = cgroups.available(directory)
        self._filter = seccomp.available()
        # The program that makes the sliver's own user namespace is under it already; a switch closes others.
        self._first_filter = seccomp.available(user_namespaces=True)
        super().__init__(directory)

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        """The command that makes the namespaces and the view, and runs `launch.KEEPER` (or `NAMELESS`) in them as PID
        1."""
        raise NotImplementedError

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        prefix, view = staged(view, record.host_uid)
        try:
            command = self.keeper_command(_hostname(record.hostname), view, nameless=False)
            keeper = launch([*prefix, *command], self.mark + record.slice, self._first_filter)
            close_user_namespaces(keeper.pid, record.host_uid)
            self._limit(record, keeper)
        except BaseException:
            self.end_unrecorded((), record.slice)
            raise
        return keeper

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> Nameless:
        prefix, view = staged(view, host_uid)
        command = self.keeper_command(_hostname(like.hostname), view, nameless=True)
        try:
            first = launch_nameless([*prefix, *command], self.mark + name, self._first_filter)
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
        self._limit(record, first.process)
        first.call(record.slice, self.mark + record.slice)

    def end_first(self, first: Nameless, slice: str | None = None) -> None:
        first.streams.close()
        first.process.kill()
        if slice is not None and self._cgroups:
            self._cgroups.drop(slice)

    def let_go(self, slice: str, keeper: Process) -> None:
        inside = namespace(keeper.pid, "pid")  # not to be had any more once it is dying
        keeper.kill(unblock=lambda: cut_off(entrants(inside) if inside else []))
        if self._cgroups:
            self._cgroups.drop(slice)

    def _limit(self, record: Record, keeper: Process) -> None:
        if self._cgroups:
            limits = {"memory_mb": record.memory_mb, "processes": record.processes}
            self._cgroups.hold(record.slice, keeper.pid, **limits)

    def door(self, record: Record, keeper: Process) -> NamespaceDoor:
        join = self._cgroups.join(record.slice) if self._cgroups else ()
        limits = rlimits(record.memory_mb, record.processes)
        return NamespaceDoor(record.slice, keeper.pid, record.host_uid, join, limits, self._filter)

    def entrants(self, slice: str, keeper: Process) -> Sequence[int]:
        inside = namespace(keeper.pid, "pid")
        return entrants(inside) if inside else []

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


def _hostname(given: str) -> str:
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
