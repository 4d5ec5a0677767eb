"""A disk of its own for a process of simulated nodes, and that disk full: a tmpfs in a mount namespace."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.breaking.standins import REPOSITORY, RUN, aside
from tests.faults.stack import Stack

SIZE = "64m"
_HOLD = 'mount -t tmpfs -o size="$1" dslice "$2" && cp -a "$3/." "$2" && echo ready && exec sleep infinity'


@contextmanager
def small(stack: Stack, name: str) -> Iterator[Path | None]:
    """In the place of the process `name` another one, which sees its folder on a small disk; where that disk is seen
    from here, None where this machine mounts none. What was written there is in the folder afterwards."""
    folder, kept, after = stack.home.service(name), stack.folder / f"{name}-before", stack.folder / f"{name}-after"
    with aside(stack, [name]):
        shutil.copytree(folder, kept)
        apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        command = [*apart, "sh", "-c", _HOLD, "sh", SIZE, str(folder), str(kept)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
            try:
                if not holder.stdout or holder.stdout.readline() != b"ready\n":
                    yield None
                    return
                seen = Path(f"/proc/{holder.pid}/root{folder}")
                with _inside(stack, name, holder.pid):
                    yield seen
                # Out of there first: a mount goes with the folder that it is on.
                shutil.copytree(seen, after)
                shutil.rmtree(folder)
                after.rename(folder)
            finally:
                holder.kill()
                shutil.rmtree(kept)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left on it."""
    greedy = disk / "greedy"
    descriptor = os.open(greedy, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for size in (1 << 20, 4096, 1):
        while _taken(descriptor, size):
            pass
    try:
        yield
    finally:
        os.close(descriptor)
        greedy.unlink()


def _taken(descriptor: int, size: int) -> bool:
    try:
        return os.write(descriptor, bytes(size)) > 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


@contextmanager
def _inside(stack: Stack, name: str, holder: int) -> Iterator[None]:
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    inside = ["nsenter", f"--target={holder}", "--mount", *user, "--"]
    env = {**stack.environment(name), "PYTHONPATH": str(REPOSITORY)}
    with (stack.home.logs / "small-disk.log").open("ab") as log:
        process = subprocess.Popen(
            [*inside, sys.executable, "-c", RUN, "simnodes"], env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
