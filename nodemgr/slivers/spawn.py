"""Starting programs from a process with many threads.

posix_spawn only: a fork would copy locks that other threads hold. Children get default signal dispositions and an
empty mask (Python ignores SIGPIPE, and a child that inherits this never notices a closed pipe), and no descriptor but
those that are named here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from trust.errors import Code, Refusal

_RESETTABLE = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]

# What a helper of the node manager sees of its environment: nothing of the node manager's own.
HELPER_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def seal_descriptors() -> None:
    """Mark every descriptor above 2 close-on-exec.

    Python's own are already; this is for those that a parent or a C library left open, which must not reach a sliver.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with contextlib.suppress(OSError):
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.set_inheritable(descriptor, False)


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int], *, session: bool = False
) -> int:
    """Start `argv`, found on the PATH of `environment`, and return its pid; the caller waits for it.

    Args:
        argv: program and arguments.
        environment: the whole environment of the child.
        descriptors: child's descriptor → ours. Every one of ours is above 2; what is not named is closed.
        session: give it a session of its own; else a process group of its own.

    Raises:
        OSError: the program is not there or cannot be started.
    """
    seal_descriptors()
    command = list(argv)
    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in descriptors.items()]
    start = functools.partial(os.posix_spawnp, file_actions=actions, setsigmask=(), setsigdef=_RESETTABLE)
    if session:
        return start(command[0], command, environment, setsid=True)
    return start(command[0], command, environment, setpgroup=0)


def open_pipe(readers: contextlib.ExitStack, writers: contextlib.ExitStack) -> tuple[int, int]:
    """(read, write) of a new pipe; each end is closed with its stack, whatever happens in between."""
    read, write = os.pipe()
    readers.callback(os.close, read)
    writers.callback(os.close, write)
    return read, write


def open_null(stack: contextlib.ExitStack) -> int:
    """/dev/null, to read and to write, closed with the stack."""
    descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def exit_status(wait_status: int) -> int:
    """A shell's view of a wait(2) status: 0–255, 128 + N when signal N ended it."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def run_helper(argv: Sequence[str], what: str, *, cwd: Path | None = None) -> None:
    """Run one of the host's tools to its end. Refusal(INTERNAL): `what`, and the tool's own words, when it fails."""
    done = subprocess.run(
        argv, cwd=cwd, env=HELPER_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-200:]
        raise Refusal(Code.INTERNAL, f"{what}: {words}")
