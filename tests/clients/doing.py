"""A client's command line at work: run to its end, or going on beside the test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from tests.clients.installed import ALL

SECONDS = 600 if ALL else 60


def tried(
    argv: Sequence[str], stdin: bytes = b"", variables: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=SECONDS, env=variables, check=False)


def done(argv: Sequence[str], stdin: bytes = b"") -> bytes:
    """What it prints; it must succeed."""
    ran = tried(argv, stdin)
    assert ran.returncode == 0, (argv, ran.stdout[-500:], ran.stderr[-1000:])
    return ran.stdout


@contextlib.contextmanager
def going_on(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run it until the end of the block."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen(argv, **streams) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        return True
    return False
