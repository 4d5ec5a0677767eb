"""Entering a sliver: the command line that joins its namespaces, its terminal, and its end.

nsenter stands outside and waits; its child is inside, leads a session of its own, and can never gain a right: no
capability in any set, none in the bounding set, no-new-privileges.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, Protocol

from nodemgr.slivers.drivers.driver import Pty
from nodemgr.slivers.inside.etc import environment
from nodemgr.slivers.process.hangup import HANGUP_SECONDS, Group, cut_off, finish, hang_up, signal_groups
from nodemgr.slivers.process.launch import as_host_user, program
from nodemgr.slivers.process.spawn import exit_status, open_null, open_pipe, spawn
from trust.errors import Code, Refusal

# ioctl_tty(2): not in termios before Python 3.13.
_TIOCGPTPEER = 0x5441
_TIOCGPTN = 0x80045430
_TIOCSPTLCK = 0x40045431
_PTMX_DEVICE = os.makedev(5, 2)

# The usual umask whatever the node manager's is; home, where the sliver has not shut itself out of it; the command.
AT_HOME = ("/bin/sh", "-c", 'umask 022; cd 2>/dev/null; exec "$@"', "sh")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal of the sliver's own: /dev/pts/`number` inside."""

    number: int


class Door(Protocol):
    """How to enter one running sliver: its name, its first process's pid as this node manager sees it, who its root is
    on the host (None: this node manager's own user), and the command."""

    @property
    def slice(self) -> str: ...
    @property
    def keeper(self) -> int: ...
    @property
    def host_uid(self) -> int | None: ...
    @property
    def terminal_owner(self) -> tuple[int, int] | None:
        """The host's user and group that a terminal is given to; None: our own."""

    @property
    def hands_over(self) -> bool:
        """Whether the command gets the very streams that it is started with; else it must open its terminal itself,
        and what stands between would read what is typed."""

    @property
    def filter(self) -> bytes:
        """Of system calls, which the command is under; empty where it brings its own."""

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the command, `variables` in it."""

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        """The whole command line that runs `argv` inside, where its standard streams and `kept` descriptors after
        them, and `variables` in its environment, are the session's already."""


@dataclass(frozen=True, slots=True)
class OneUser:
    """What a door into a sliver with one user has, however it is gone through.

    Args:
        slice: its name.
        keeper: pid of its first process, as this node manager sees it.
        host_uid: who its root is on the host; None: this node manager's own user.
    """

    slice: str
    keeper: int
    host_uid: int | None

    @property
    def terminal_owner(self) -> tuple[int, int] | None:
        return None if self.host_uid is None else (self.host_uid, self.host_uid)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return environment(self.slice, variables)


@dataclass(frozen=True, slots=True)
class NamespaceDoor(OneUser):
    """Through the namespaces of the keeper.

    Args:
        join: command prefix, outside, that enters the sliver's control group.
        limits: command prefix, inside, that sets the session's rlimits.
        filter: of system calls (`nodemgr.slivers.limits.seccomp`): a session does not have that of the first process.
    """

    join: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    filter: bytes = b""
    hands_over: ClassVar[bool] = True

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        """The whole command line: limits, the sliver's uid, its namespaces, a session, no rights, home, `argv`."""
        bare = ["/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
        return [*self.entry(terminal), *bare, *self.limits, *AT_HOME, *argv]

    def entry(self, terminal: Terminal | None) -> list[str]:
        """As its root, with all that the root may do, and leading a session."""
        namespaces = ["-U", "-m", "-p", "-i", "-u", "-C", "-t", str(self.keeper)]
        lead = ["/usr/bin/setsid", *(["--ctty"] if terminal else [])]
        enter = [program("nsenter"), "--preserve-credentials", *namespaces, "--", *lead]
        return [*self.join, *as_host_user(self.host_uid), *enter]


class KeeperSession:
    """One running command inside a sliver (`nodemgr.slivers.drivers.driver.Session`)."""

    def __init__(self, pid: int, ended: int, stdin: int, stdout: int, stderr: int | None) -> None:
        self.pid = pid
        self.ended = ended
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.fatal_signal: int | None = None
        self._status: int | None = None
        self._waiting = threading.Lock()
        self._hanging_up = threading.Lock()

    def resize(self, columns: int, rows: int) -> None:
        if self.stderr is None:
            with contextlib.suppress(OSError):  # closed, or the session is over
                set_size(self.stdout, columns, rows)

    def wait(self) -> int:
        with self._waiting:
            if self._status is None:
                ended = os.waitpid(self.pid, 0)[1]
                self.fatal_signal = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else None
                self._status = exit_status(ended)
            return self._status

    def signal(self, number: int) -> None:
        if self._status is None:
            signal_groups(self.pid, number)

    def kill(self) -> None:
        if self._status is None:
            cut_off([self.pid])

    def hangup(self) -> None:
        if self._status is None and self._hanging_up.acquire(blocking=False):
            groups = hang_up(self.pid)
            threading.Thread(target=self._finish, args=(groups,), name=f"hangup-{self.pid}", daemon=True).start()

    def _finish(self, groups: Sequence[Group]) -> None:
        threading.Thread(target=self.wait, name=f"wait-{self.pid}", daemon=True).start()
        time.sleep(HANGUP_SECONDS)
        finish([self.pid] if self._status is None else [], groups)


def enter(
    door: Door, argv: Sequence[str], pty: Pty | None, variables: Mapping[str, str], control: int | None
) -> KeeperSession:
    """Run `argv` behind `door`. Refusal(INTERNAL) when the host cannot start it; all else shows in its exit status."""
    try:
        return _enter_terminal(door, argv, pty, variables) if pty else _enter_pipes(door, argv, variables, control)
    except OSError as error:
        raise Refusal(Code.INTERNAL, f"the sliver of {door.slice} cannot be entered: {error.strerror}") from error


def _enter_terminal(door: Door, argv: Sequence[str], pty: Pty, variables: Mapping[str, str]) -> KeeperSession:
    with ExitStack() as ours, ExitStack() as theirs:
        master, slave = open_terminal(door.keeper, door.terminal_owner)
        ours.callback(os.close, master)
        theirs.callback(os.close, slave)
        set_size(master, pty.columns, pty.rows)
        number = struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))[0]
        own = {**variables, "SSH_TTY": f"/dev/pts/{number}", "TERM": pty.term}
        stream = slave if door.hands_over else open_null(theirs)
        command = door.command(argv, Terminal(number), own, 0)
        pid = spawn(command, door.environment(own), {0: stream, 1: stream, 2: slave}, filter=door.filter)
        session = KeeperSession(pid, _ending(pid), master, master, None)
        ours.pop_all()  # the session's from now on
    return session


def _enter_pipes(door: Door, argv: Sequence[str], variables: Mapping[str, str], control: int | None) -> KeeperSession:
    with ExitStack() as ours, ExitStack() as theirs:
        in_read, in_write = open_pipe(theirs, ours)
        out_read, out_write = open_pipe(ours, theirs)
        err_read, err_write = open_pipe(ours, theirs)
        streams = {0: in_read, 1: out_write, 2: err_write} | ({} if control is None else {3: control})
        command = door.command(argv, None, variables, len(streams) - 3)
        pid = spawn(command, door.environment(variables), streams, filter=door.filter)
        session = KeeperSession(pid, _ending(pid), in_write, out_read, err_read)
        ours.pop_all()  # the session's from now on
    return session


def _ending(pid: int) -> int:
    """A descriptor that becomes readable when our child `pid` ends; without one, the child is ended at once."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        hang_up(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def open_terminal(keeper: int, owner: tuple[int, int] | None) -> tuple[int, int]:
    """(master, slave) of a new terminal of the sliver's own /dev/pts, so that `tty` names it inside, owned by its user,
    so that programs inside may open it again by that name.

    Raises:
        OSError: the keeper is gone, or what is there is no terminal multiplexer.
    """
    master = os.open(f"/proc/{keeper}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    with ExitStack() as opened:
        opened.callback(os.close, master)
        if os.fstat(master).st_rdev != _PTMX_DEVICE:
            raise OSError(0, "no terminals there")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        opened.callback(os.close, slave)
        if owner is not None:
            os.fchown(slave, *owner)
        opened.pop_all()  # the caller's from now on
    return master, slave


def set_size(terminal: int, columns: int, rows: int) -> None:
    """Set a terminal's size in characters; the kernel tells its programs (SIGWINCH)."""
    size = struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
