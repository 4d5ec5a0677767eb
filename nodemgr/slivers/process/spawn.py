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
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodemgr.slivers.limits.seccomp import under
from trust.errors import Code, Refusal

_RESETTABLE = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]

HELPER_SECONDS = 30  # a driver's whole call has 40 (beside.py)

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
    argv: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[int, int],
    *,
    session: bool = False,
    filter: bytes = b"",
) -> int:
    """Start `argv`, found on the PATH of `environment`, and return its pid; the caller waits for it.

    Args:
        argv: program and arguments.
        environment: the whole environment of the child.
        descriptors: child's descriptor → ours. Every one of ours is above 2; what is not named is closed.
        session: give it a session of its own; else a process group of its own.
        filter: of system calls (`nodemgr.slivers.limits.seccomp`), which it and all that it starts is under.

    Raises:
        OSError: the program is not there or cannot be started.
    """
    seal_descriptors()
    command = list(argv)
    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in descriptors.items()]
    start = functools.partial(os.posix_spawnp, file_actions=actions, setsigmask=(), setsigdef=_RESETTABLE)
    if session:
        return under(filter, lambda: start(command[0], command, environment, setsid=True))
    return under(filter, lambda: start(command[0], command, environment, setpgroup=0))


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


def run_helper(argv: Sequence[str], what: str, *, cwd: Path | None = None, timeout: float = HELPER_SECONDS) -> str:
    """Run one of the host's tools to its end, and give back what it wrote.

    Args:
        what: went wrong, should it.
        timeout: seconds until it is killed, and all that it started.

    Raises:
        Refusal: INTERNAL with `what` and the tool's own words when it fails; TIMEOUT.
    """
    helper = subprocess.Popen(
        argv,
        cwd=cwd,
        env=HELPER_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, words = helper.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(helper.pid, signal.SIGKILL)
        _forget(helper)
        raise Refusal(Code.TIMEOUT, f"{what}: {argv[0]} took more than {timeout:.0f} s; tried again later") from None
    if helper.returncode:
        raise Refusal(Code.INTERNAL, f"{what}: {words.decode(errors='replace').strip()[-200:]}")
    return said.decode(errors="replace")


def _forget(helper: subprocess.Popen[bytes]) -> None:
    """Close its pipes and have it reaped, without waiting for one that the kernel does not let go of."""
    for stream in (helper.stdout, helper.stderr):
        if stream is not None:
            stream.close()
    threading.Thread(target=helper.wait, name=f"helper-{helper.pid}", daemon=True).start()
