"""When the node itself fails, each request, channel and connection still ends with an answer or a close."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nodemgr.access import Access
from nodemgr.slivers.process.session import KeeperSession
from tests.integration.frontdoor.conftest import SLICE, Node
from tests.integration.frontdoor.test_streams import eventually

LOST = 255


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process, and the front door in it, can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def no_thread(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if the system had none left, once one of that name is wanted."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def failing(monkeypatch: pytest.MonkeyPatch, node: Node, slice: str) -> None:
    """The access of this slice cannot be looked up any more."""
    lookup = node.table.lookup

    def fail(asked: str) -> Access | None:
        if asked == slice:
            raise OSError(5, "Input/output error")
        return lookup(asked)

    monkeypatch.setattr(node.table, "lookup", fail)


@contextlib.contextmanager
def shared(node: Node, slice: str, path: Path) -> Iterator[list[str]]:
    """A connection that is open; the options of clients that open channels on it."""
    with node.start("-M", f"-S{path}", "-N", "--", login=slice):
        eventually(path.exists)
        yield [f"-S{path}", "-oControlMaster=no"]


def echoed(client: Any, line: bytes) -> bool:
    """By a `cat` that runs in the sliver."""
    client.stdin.write(line)
    client.stdin.flush()
    return bool(client.stdout.readline() == line)


def test_a_command_that_cannot_be_started_ends_with_a_word(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(*_args: Any, **_how: Any) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as broken:
        broken.setattr("nodemgr.slivers.process.session.spawn", spawn)
        for options in (["-T"], ["-tt"]):
            done = node.ssh(*options, "--", "true")
            assert done.returncode == LOST
            assert b"this session broke on the node; try again" in done.stderr + done.stdout
    assert node.ssh("true").returncode == 0


@pytest.mark.parametrize("name", ["session", "session-input"])
@pytest.mark.parametrize("options", [["-T"], ["-tt"]])
def test_no_thread_for_a_session(node: Node, monkeypatch: pytest.MonkeyPatch, name: str, options: list[str]) -> None:
    with monkeypatch.context() as broken:
        no_thread(broken, name)
        before = len(os.listdir("/proc/self/fd"))
        done = node.ssh(*options, "--", "sleep 600")
        assert done.returncode == LOST
        assert done.stderr + done.stdout != b""
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert node.ssh("true").returncode == 0


@pytest.mark.parametrize("name", ["forward", "forward-input"])
def test_no_thread_for_a_forwarded_connection(node: Node, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with monkeypatch.context() as broken:
        no_thread(broken, name)
        done = node.ssh("-W", f"{node.address}:{node.port}", "--")
        assert b"SSH-2.0-dslice" not in done.stdout
    assert node.ssh("-W", f"{node.address}:{node.port}", "--").stdout.startswith(b"SSH-2.0-dslice")


def test_without_descriptors_one_channel_is_refused_and_the_others_live(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "shared"
    with (
        shared(node, SLICE, path) as options,
        node.start(*options, "--", "cat") as living,
    ):
        assert echoed(living, b"before\n")
        with _waiting(node, options) as (client, go), no_descriptors():
            go()
            assert client.wait(60) == LOST
        assert echoed(living, b"after\n")
        assert node.ssh(*options, "--", "echo in").stdout == b"in\n"


def test_without_descriptors_connections_are_closed(node: Node, tmp_path: Path) -> None:
    """The first finds the descriptor that accept(2) had set aside, and keeps it; the next finds none."""
    keep = ["-M", f"-S{tmp_path / 'shared'}", "-N"]
    with _waiting(node, keep) as (_first, begin), _waiting(node, ["-oConnectTimeout=600"]) as (client, go):
        with no_descriptors():
            begin()
            eventually(lambda: os.path.exists(tmp_path / "shared"))
            go()
            assert client.wait(60) == LOST
        assert node.ssh("true").returncode == 0


def test_a_login_that_cannot_be_decided_is_no_wrong_key(
    node: Node, slice_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        failing(broken, node, slice_name)
        done = node.ssh("true", login=slice_name)
        assert done.returncode == LOST
        assert b"Service not available" in done.stderr
        assert b"Permission denied" not in done.stderr
    assert node.ssh("true", login=slice_name).returncode == 0


def test_a_channel_that_cannot_be_decided_is_refused_and_the_others_live(
    node: Node, slice_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "shared"
    with shared(node, slice_name, path) as options, node.start(*options, "--", "cat", login=slice_name) as living:
        assert echoed(living, b"before\n")
        with monkeypatch.context() as broken:
            failing(broken, node, slice_name)
            done = node.ssh(*options, "--", "true", login=slice_name)
            assert done.returncode == LOST
        assert echoed(living, b"after\n")


def test_one_slice_that_cannot_be_looked_up_keeps_no_other_open(
    node: Node, slice_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        node.start("echo in; sleep 600") as broken,
        node.start("echo in; sleep 600", login=slice_name) as ending,
        monkeypatch.context() as patch,
    ):
        assert broken.stdout.readline() == ending.stdout.readline() == b"in\n"
        failing(patch, node, SLICE)
        node.table.change(slice_name, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        assert ending.wait(30) == LOST
        assert broken.poll() is None


def test_a_session_that_cannot_be_hung_up_on_holds_up_no_other(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    hangup, fails = KeeperSession.hangup, iter([True])

    def fail_once(session: KeeperSession) -> None:
        if next(fails, False):
            raise OSError(24, "Too many open files")
        hangup(session)

    before = node.server.logged_in()
    with node.start("-tt", "--", "echo in; sleep 600") as client:
        assert client.stdout.readline().strip() == b"in"
        monkeypatch.setattr(KeeperSession, "hangup", fail_once)
        client.kill()
    eventually(lambda: node.server.logged_in() == before)
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("session")])


@contextlib.contextmanager
def _waiting(node: Node, options: list[str]) -> Iterator[tuple[Any, Any]]:
    """A client of OpenSSH, in a process that is there already, and what lets it begin."""
    argv = [
        "sh",
        "-c",
        'read line; exec "$@"',
        "sh",
        "ssh",
        *node.options(),
        *options,
        f"{SLICE}@{node.address}",
        "true",
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdin is not None

        def go() -> None:
            assert client.stdin is not None
            client.stdin.write(b"\n")
            client.stdin.flush()

        try:
            yield client, go
        finally:
            client.kill()
