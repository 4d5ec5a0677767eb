"""User namespaces with 65,536 ids: made by the host user that is the root inside, mapped by the node manager.

Whoever enters becomes that host user first, so that no process with the host root's number is ever seen inside: that
number alone may write most of /proc/sys.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nodemgr.slivers.limits.hostranges import IDS
from nodemgr.slivers.process.launch import as_host_user, program
from nodemgr.slivers.process.spawn import HELPER_ENVIRONMENT, open_pipe, spawn
from trust.errors import Code, Refusal


@contextmanager
def user_namespace(first: int, processes: int) -> Iterator[tuple[int, int]]:
    """A new one: the pid of a process in it, which ends with this, and a descriptor of it.

    Args:
        first: the host user that is its root; its ids are this one and those that follow.
        processes: that all its users together may have (the kernel counts them for the namespace).

    Raises:
        Refusal: INTERNAL when this host makes none.
    """
    limit = [program("prlimit"), f"--nproc={processes}:{processes}", "--"]
    command = [*limit, *as_host_user(first), program("unshare"), "--user", "--", program("cat")]
    with ExitStack() as ours, ExitStack() as theirs:
        asked_read, asked_write = open_pipe(theirs, ours)
        said_read, said_write = open_pipe(ours, theirs)
        holder = spawn(command, HELPER_ENVIRONMENT, {0: asked_read, 1: said_write, 2: said_write}, session=True)
        ours.callback(_end, holder)
        theirs.close()
        with suppress(BrokenPipeError):
            os.write(asked_write, b"?")
        said = os.read(said_read, 4096)
        if said != b"?":
            words = said.decode(errors="replace").strip()[-200:]
            raise Refusal(Code.INTERNAL, f"this node makes no user namespaces: {words}")
        for kind in ("uid", "gid"):
            _map(holder, kind, first)
        found = os.open(f"/proc/{holder}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        ours.callback(os.close, found)
        yield holder, found


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _map(pid: int, kind: str, first: int) -> None:
    file = os.open(Path("/proc", str(pid), f"{kind}_map"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, f"0 {first} {IDS}\n".encode())
    finally:
        os.close(file)
