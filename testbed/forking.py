"""A daemon as a forked child: its imports are there already, which saves most of its start (docs/adr/0002).

Forking is sound because the supervisor has one thread; `fork` refuses otherwise.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_LOG_MODE = 0o600
_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)

# What several daemons need, and takes most of a second or two to import. None of it reads the environment or starts
# a thread; `workers.app` does the former, and is left to those who run it.
SHARED_IMPORTS = (
    "agent.daemon",
    "alembic.command",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "nodemgr.daemon",
    "plc.bootstrap",
    "plc.daemon",
    "sqlalchemy.dialects.postgresql.psycopg",
    "svm.service.daemon",
    "testbed.simulation.process",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


@dataclass(frozen=True, slots=True)
class Child:
    """A forked daemon: its pid, and our end of its stdout, non-blocking."""

    pid: int
    stdout: int


def import_shared() -> None:
    """Import once what forked daemons then have for nothing."""
    for name in SHARED_IMPORTS:
        import_module(name)


def fork(
    name: str,
    main: Callable[[], object],
    *,
    env: Mapping[str, str],
    log: Path,
    leave: Iterable[Callable[[], None]] = (),
) -> Child:
    """Run `main` in a child in a session of its own: stdin empty, stderr to `log`, stdout to us.

    The child dies with this process, however that ends. `leave` closes what of the parent's it must not keep.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("fork from a process with several threads")
    read, write = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # Until `_become` has set them back the child has our handlers: a signal that comes at once would be lost in them.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
    pid = os.fork()
    if not pid:
        os.close(read)
        _live(main, env, lambda: _become(name, parent, write, log, leave), held)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    os.close(write)
    os.set_blocking(read, False)
    return Child(pid, read)


def adopt_orphans() -> None:
    """Make grandchildren whose parent ends ours, so that we can wait for them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the one with pid `parent` ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def _live(
    main: Callable[[], object], env: Mapping[str, str], become: Callable[[], None], held: Iterable[int]
) -> NoReturn:
    """The child's whole life, which never returns into the parent's code."""
    code = 70
    try:
        become()
        os.environ.update(env)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        code = _run(main)
    except BaseException:  # noqa: BLE001 whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


def _become(name: str, parent: int, stdout: int, log: Path, leave: Iterable[Callable[[], None]]) -> None:
    os.setsid()
    die_with_parent(parent)
    _prctl(_PR_SET_NAME, f"dslice {name}".encode())
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for close in leave:
        close()
    os.umask(0o077)
    empty = os.open(os.devnull, os.O_RDONLY)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _LOG_MODE)
    for source, target in ((empty, 0), (stdout, 1), (errors, 2)):
        os.dup2(source, target)
        os.close(source)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 the parent's objects may be a terminal's or a test's
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["dslice", "run", name]


def _run(main: Callable[[], object]) -> int:
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _prctl(option: int, value: int | bytes) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")
