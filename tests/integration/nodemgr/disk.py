"""Small disks that fill up: a tmpfs in a mount namespace of its own, with or without root."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType

import pytest

_MOUNT = 'mount -t tmpfs -o size="$1",nr_inodes=20000 dslice "$2" && shift 2 && exec "$@"'


def on_small_disk(folder: Path, size: str, command: list[str]) -> list[str]:
    """The command line that runs `command` where `folder` is a disk of `size` ("8m"); skipped where none can be had."""
    folder.mkdir(parents=True, exist_ok=True)
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    prefix = [*apart, "/bin/sh", "-c", _MOUNT, "sh", size, str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs in a namespace of its own")
    return [*prefix, *command]


def play(scenario: Callable[[Path], None], folder: Path, size: str = "12m") -> None:
    """Run a function of a test's module, which asserts, in a process that sees `folder` as a small disk."""
    assert isinstance(scenario, FunctionType)
    played = f"from {scenario.__module__} import {scenario.__name__} as play"
    program = f"from pathlib import Path; {played}; play(Path({str(folder)!r}))"
    command = on_small_disk(folder, size, [sys.executable, "-c", program])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def lasting_disk(folder: Path, size: str) -> Iterator[tuple[list[str], Path]]:
    """The same disk for several processes: the prefix of their command lines, and where this process sees it."""
    command = on_small_disk(folder, size, ["sh", "-c", "echo ready; exec sleep infinity"])
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"ready\n"
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        yield ["nsenter", f"--target={holder.pid}", "--mount", *user, "--"], Path(f"/proc/{holder.pid}/root{folder}")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def fill(folder: Path) -> Path:
    """Take every byte that the disk gives; the file that has them."""
    path = folder / "greedy"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for size in (1 << 20, 4096, 1):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, bytes(size))
    os.close(descriptor)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (folder / "no-room").write_bytes(b"x")
    (folder / "no-room").unlink()
    return path


@contextlib.contextmanager
def greedy(folder: Path) -> Iterator[None]:
    """A full disk, on which somebody takes at once whatever becomes free."""
    fill(folder)
    over = threading.Event()

    def take() -> None:
        with (folder / "greedy").open("ab", buffering=0) as file:
            while not over.is_set():
                try:
                    file.write(bytes(4096))
                except OSError:
                    time.sleep(0)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
