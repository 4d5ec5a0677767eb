"""User namespaces with 65,536 ids: made by the host user that is the root inside, mapped by the node manager.

Whoever enters becomes that host user first, so that no process with the host root's number is ever seen inside: that
number alone may write most of /proc/sys.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodemgr.slivers.limits.hostranges import IDS
from nodemgr.slivers.process.launch import as_host_user, program
from nodemgr.slivers.process.spawn import HELPER_ENVIRONMENT
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
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=HELPER_ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=pipe) as holder:
        assert holder.stdin and holder.stdout and holder.stderr
        try:
            holder.stdin.write(b"?")
            holder.stdin.flush()
            if holder.stdout.read(1) != b"?":
                words = holder.stderr.read().decode(errors="replace").strip()[-200:]
                raise Refusal(Code.INTERNAL, f"this node makes no user namespaces: {words}")
            for kind in ("uid", "gid"):
                _map(holder.pid, kind, first)
            found = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield holder.pid, found
            finally:
                os.close(found)
        finally:
            holder.kill()


def _map(pid: int, kind: str, first: int) -> None:
    file = os.open(Path("/proc", str(pid), f"{kind}_map"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, f"0 {first} {IDS}\n".encode())
    finally:
        os.close(file)
