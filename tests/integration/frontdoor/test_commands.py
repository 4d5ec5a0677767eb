"""exec: streams, exit status, signals."""

from __future__ import annotations

import hashlib
import os

import pytest

from tests.integration.frontdoor.conftest import SLICE, Node


def test_a_command_runs_inside_the_sliver_as_the_slice(node: Node) -> None:
    done = node.ssh("hostname; whoami; id -u; echo ~; pwd")
    assert done.stderr == b""
    assert done.stdout.decode().split("\n") == [
        f"{SLICE}-n1",
        SLICE,
        str(node.uid),
        f"/home/{SLICE}",
        f"/home/{SLICE}",
        "",
    ]
    assert done.returncode == 0


@pytest.mark.parametrize("status", [0, 1, 3, 126, 255])
def test_the_exit_status_comes_back(node: Node, status: int) -> None:
    assert node.ssh(f"exit {status}").returncode == status


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("KILL", 9), ("HUP", 1), ("PIPE", 13), ("SEGV", 11)])
def test_a_command_that_a_signal_ended_is_128_and_its_number(node: Node, name: str, number: int) -> None:
    assert node.ssh(f"kill -{name} $$; sleep 5").returncode == 128 + number


def test_stdout_and_stderr_stay_apart(node: Node) -> None:
    done = node.ssh("echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_stdin_reaches_the_command_and_its_end_too(node: Node) -> None:
    data = os.urandom(1 << 20)
    done = node.ssh("sha256sum", input=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_signals_are_not_ignored_inside(node: Node) -> None:
    """Python ignores SIGPIPE; a child that inherits that would go on writing for ever."""
    done = node.ssh("grep SigIgn /proc/self/status; yes | head -n 1")
    ignored, last = done.stdout.decode().splitlines()
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0  # 32 and 33 are the C library's own
    assert last == "y"
