"""Processes as /proc shows them: who is who, after a restart too.

A pid alone names nobody for long. A process is named by pid, start time and boot, so that a node manager that comes
back adopts its own keepers and never signals a stranger that got the same number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trust.errors import Code, Refusal

PROC = Path("/proc")

# In a keeper's environment: whose it is, so that one that was started and never recorded is found.
KEEPER_VARIABLE = "DSLICE_KEEPER"

# What /proc answers of a process that ended, or is another user's. From anything else (no descriptor left, say) nobody
# may conclude that the process is gone.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def boot_id() -> str:
    """The kernel's name for this boot: pids and start times mean nothing beyond it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which `pid` began (proc(5), stat field 22); None when it is gone or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except _GONE:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def children(pid: int) -> list[int]:
    """Direct children, whichever thread started them; empty when it is gone."""
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                found += (PROC / str(pid) / "task" / thread / "children").read_text(encoding="ascii").split()
    return [int(word) for word in found]


def namespace(pid: int, kind: str) -> str | None:
    """`pid:[4026532182]` for kind `pid`; None when the process is gone or is another user's."""
    try:
        return os.readlink(PROC / str(pid) / "ns" / kind)
    except OSError:
        return None


def pids() -> Iterator[int]:
    """Every process that this one can see."""
    for entry in os.listdir(PROC):
        if entry.isdigit():
            yield int(entry)


def members(pid_namespace: str) -> list[int]:
    """Processes inside a sliver, by its pid namespace (as `namespace(keeper, "pid")` gives it)."""
    return [pid for pid in pids() if namespace(pid, "pid") == pid_namespace]


def entrants(pid_namespace: str) -> list[int]:
    """The nsenter processes that stand outside and wait for a session inside."""
    return [
        pid
        for pid in pids()
        if namespace(pid, "pid_for_children") == pid_namespace and namespace(pid, "pid") != pid_namespace
    ]


def first_processes(mark: str) -> dict[int, str]:
    """Keepers, recorded or not, whose environment has `KEEPER_VARIABLE` beginning with `mark`: pid to its value.

    Only a namespace's PID 1 counts: a sliver's user may set any environment, but makes no pid namespaces.
    """
    found, ours = {}, namespace(os.getpid(), "pid")
    for pid in pids():
        if namespace(pid, "pid") in (ours, None):
            continue
        with contextlib.suppress(*_GONE):
            environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
            wanted = f"{KEEPER_VARIABLE}={mark}".encode()
            marked = [entry for entry in environment if entry.startswith(wanted)]
            if marked and _namespace_pids(pid)[-1:] == ["1"]:
                found[pid] = marked[0].decode(errors="replace").partition("=")[2]
    return found


def _namespace_pids(pid: int) -> list[str]:
    """The numbers of `pid` in each pid namespace that it is in, ours first; one when it is in ours alone."""
    for line in (PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return numbers if len(numbers) > 1 else []
    return []


def ignores_hangup(pid: int) -> bool:
    """True for a process that was started with nohup, or set SIGHUP to be ignored itself."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("SigIgn:"):
                return bool(int(line.split()[1], 16) & (1 << (signal.SIGHUP - 1)))
    return False


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this boot that stays the same one: its pid, its start time in ticks, the boot's id."""

    pid: int
    start_time: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has `pid` now. Refusal(INTERNAL) when there is none."""
        started = start_time(pid)
        if started is None:
            raise Refusal(Code.INTERNAL, f"the process {pid} ended while the sliver started; try again")
        return cls(pid, started, boot_id())

    @property
    def alive(self) -> bool:
        return self.boot_id == boot_id() and start_time(self.pid) == self.start_time

    def kill(self, unblock: Callable[[], None] = lambda: None, timeout: int = 20) -> None:
        """SIGKILL, and wait until it is gone. Nothing to do when it is not there any more.

        Args:
            unblock: called before each wait; ends what the process's end may wait for.
            timeout: seconds.

        Raises:
            Refusal: INTERNAL when it is still there after that time (stuck in the kernel).
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.alive:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            for _ in range(timeout):
                unblock()
                if poller.poll(1000):
                    return
            raise Refusal(Code.INTERNAL, f"process {self.pid} of a sliver did not end within {timeout} s of SIGKILL")
        finally:
            os.close(handle)
