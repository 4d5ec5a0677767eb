"""Sessions end when the right to be inside does; many at once; and strangers who only take up room."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nodemgr.frontdoor import FrontDoorServer
from tests.integration.frontdoor.conftest import SLICE, Node, another_door, new_key
from tests.integration.frontdoor.test_streams import MIB, eventually, resident_bytes
from tests.integration.slivers.conftest import run_async
from trust.clock import SystemClock
from trust.sshkeys import parse_public_key

LOST = 255


def test_a_removed_key_closes_its_sessions_and_no_others(node: Node, slice_name: str, tmp_path: Path) -> None:
    other = new_key(tmp_path, "other")
    mine = node.table.entries[slice_name].keys
    both = (*mine, parse_public_key(other.with_suffix(".pub").read_text()))
    node.table.change(slice_name, keys=both)
    with (
        node.start("echo in; sleep 600", login=slice_name) as removed,
        node.start("echo in; sleep 600", login=slice_name, key=other) as kept,
    ):
        assert removed.stdout.readline() == kept.stdout.readline() == b"in\n"
        node.table.change(slice_name, keys=both[1:])
        node.server.close_sessions(slice_name, keys=[mine[0].fingerprint])
        assert removed.wait(30) == LOST
        assert kept.poll() is None


def test_a_key_that_vanished_from_the_table_closes_its_sessions_too(node: Node, slice_name: str) -> None:
    """Even if nobody called close_sessions."""
    with node.start("echo in; sleep 600", login=slice_name) as client:
        assert client.stdout.readline() == b"in\n"
        node.table.change(slice_name, keys=())
        assert client.wait(30) == LOST


def test_a_leases_end_closes_sessions(node: Node, slice_name: str) -> None:
    with node.start("echo in; sleep 600", login=slice_name) as client:
        assert client.stdout.readline() == b"in\n"
        node.table.change(slice_name, expires_at=datetime.now(UTC) + timedelta(seconds=1))
        assert client.wait(30) == LOST


def test_who_is_sent_away_hears_why(node: Node, slice_name: str) -> None:
    with node.start("-oLogLevel=INFO", "--", "echo in; sleep 600", login=slice_name) as client:
        assert client.stdout.readline() == b"in\n"
        node.table.change(slice_name, keys=())
        assert client.wait(30) == LOST
        assert f"your key no longer opens {slice_name}".encode() in client.stderr.read()


def test_who_does_not_listen_is_sent_away_all_the_same(node: Node, slice_name: str) -> None:
    """The words would have to wait for a client that reads nothing."""
    with node.start("cat /dev/zero", login=slice_name) as client:
        client.send_signal(signal.SIGSTOP)
        time.sleep(1)
        node.server.close_sessions(slice_name, keys=None)
        eventually(lambda: not [c for c in node.server._all() if c.granted and c.granted.slice == slice_name])
        client.send_signal(signal.SIGCONT)


def test_a_namesake_under_another_registration_is_not_the_same_slice(node: Node, slice_name: str) -> None:
    with node.start("echo in; sleep 600", login=slice_name) as client:
        assert client.stdout.readline() == b"in\n"
        node.table.change(slice_name, slice_id=node.table.entries[SLICE].slice_id)
        assert client.wait(30) == LOST


def test_a_new_channel_on_an_old_connection_is_checked_again(node: Node, slice_name: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    master = ["-M", f"-S{shared}", "-N"]
    with node.start(*master, "--", login=slice_name):
        eventually(shared.exists)
        assert node.ssh(f"-S{shared}", "--", "echo yes", login=slice_name).stdout == b"yes\n"
        node.table.change(slice_name, keys=())
        done = node.ssh(f"-S{shared}", "-oControlMaster=no", "--", "echo yes", login=slice_name)
        assert (done.returncode, done.stdout) == (LOST, b"")


def test_several_sessions_share_one_connection(node: Node, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with node.start("-M", f"-S{shared}", "-N", "--"):
        eventually(shared.exists)
        clients = [
            subprocess.Popen(
                ["ssh", *node.options(), f"-S{shared}", f"{SLICE}@{node.address}", f"head -c {MIB}; exit {n}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for n in range(8)
        ]  # fmt: skip
        for n, client in enumerate(clients):
            data = os.urandom(MIB)
            assert client.communicate(data)[0] == data
            assert client.returncode == n


def test_deleting_a_sliver_ends_its_sessions(node: Node, slice_name: str) -> None:
    with node.start("echo in; sleep 600", login=slice_name) as client:
        assert client.stdout.readline() == b"in\n"
        run_async(node.driver.delete(slice_name))
        assert client.wait(30) != 0


def test_a_sliver_that_does_not_run_says_so(node: Node, slice_name: str) -> None:
    run_async(node.driver.stop(slice_name))
    done = node.ssh("true", login=slice_name)
    assert done.returncode == LOST
    assert f"no sliver of {slice_name} runs on this node" in done.stderr.decode()


def test_whoever_has_the_key_of_a_stopped_sliver_hears_why_and_nobody_else(
    node: Node, slice_name: str, tmp_path: Path
) -> None:
    why = f"the VM of {slice_name} on this node was stopped, 2030-01-01 00:00:00 UTC: svm start {slice_name} starts it"
    with node.start("echo in; sleep 600", login=slice_name) as inside:
        assert inside.stdout.readline() == b"in\n"
        node.table.change(slice_name, stopped=why)
        assert inside.wait(30) == LOST
        assert why.encode() in inside.stderr.read()
    run_async(node.driver.stop(slice_name))
    said = node.ssh("true", login=slice_name)
    assert (said.returncode, said.stdout, said.stderr.decode().strip()) == (LOST, b"", why)
    stranger = node.ssh("true", login=slice_name, key=new_key(tmp_path, "stranger"))
    assert b"Permission denied" in stranger.stderr
    assert why.encode() not in stranger.stderr
    run_async(node.driver.start(slice_name))
    node.table.change(slice_name, stopped="")
    assert node.ssh("echo in", login=slice_name).stdout == b"in\n"


def test_fifty_sessions_at_once(node: Node) -> None:
    argv = ["ssh", *node.options(), f"{SLICE}@{node.address}"]
    clients = [
        subprocess.Popen([*argv, f"read line; echo {n} $line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(50)
    ]
    for n, client in enumerate(clients):
        assert client.communicate(b"hello\n", timeout=120)[0] == f"{n} hello\n".encode()
        assert client.returncode == 0


def test_idle_strangers_are_dropped(node: Node) -> None:
    with another_door(node, login_seconds=2) as door, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection((door.address, door.port))) for _ in range(40)]
        for sock in idle:
            sock.settimeout(60)
            while sock.recv(4096):
                pass


def test_junk_before_the_login_is_bounded(node: Node) -> None:
    before = resident_bytes()
    for start in (
        b"GET / HTTP/1.1\r\n",
        b"",
        b"SSH-2.0-x\r\n",
        b"SSH-2.0-x\r\n\xff\xff\xff\xf0",
        b"SSH-2.0-x\r\n\0\0\0\0",
    ):
        with socket.create_connection((node.address, node.port)) as sock:
            sock.settimeout(30)
            sent = 0
            try:
                sock.sendall(start)
                while sent < 64 * MIB:
                    sock.sendall(bytes(65536) if start else b"x" * 65536)
                    sent += 65536
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert sent < 16 * MIB, start
    assert resident_bytes() - before < 32 * MIB
    assert node.ssh("true").returncode == 0


def test_a_stranger_who_trickles_is_dropped_in_the_end(node: Node) -> None:
    with (
        another_door(node, login_seconds=2) as door,
        socket.create_connection((door.address, door.port)) as sock,
    ):
        sock.settimeout(30)
        end = time.monotonic() + 60
        try:
            while time.monotonic() < end:
                sock.sendall(b"S")
                time.sleep(0.2)
        except (BrokenPipeError, ConnectionResetError):
            return
        raise AssertionError("still connected")


def test_the_host_key_stays(node: Node) -> None:
    path = node.folder / "host_key"
    assert path.stat().st_mode & 0o777 == 0o600
    again = FrontDoorServer(node.driver, node.table, path, "127.0.0.1", 0, SystemClock())
    assert again.host_key_line == node.server.host_key_line
    assert again.host_key_line.startswith("ssh-ed25519 ")


def test_a_stopped_front_door_ends_its_sessions_and_frees_its_port(node: Node, slice_name: str) -> None:
    server = FrontDoorServer(node.driver, node.table, node.folder / "host_key", "127.0.0.1", 0, SystemClock())
    address, port = server.start()
    other = dataclasses.replace(node, server=server, port=port)
    with other.start("-oStrictHostKeyChecking=no", "--", "echo in; sleep 600", login=slice_name) as client:
        assert client.stdout.readline() == b"in\n"
        server.stop()
        assert client.wait(30) == LOST
    with socket.create_server((address, port)):
        pass
