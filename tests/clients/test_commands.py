"""Commands: what goes in and comes out, how they end, what their environment is, and connections that last."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nodemgr.frontdoor.transport import BoundedPacketizer
from tests.clients.client import Door
from tests.clients.commandline import OpenSSH
from tests.clients.differences import ENDED_BY_SIGNAL
from tests.clients.doing import done, going_on, tried
from tests.clients.installed import ALL
from tests.clients.table import who
from tests.integration.frontdoor.device import Device
from tests.integration.frontdoor.device import agent as device_agent
from tests.integration.frontdoor.test_streams import eventually
from trust.securitykeys import ED25519
from trust.sshkeys import parse_public_key

MIB = 1 << 20
# Keys are exchanged anew after a gigabyte by default, at either end.
MUCH = 1100 * MIB if ALL else 4 * MIB
SESSIONS = 20


@who("run")
def test_output_errors_and_status(client: Any, door: Door) -> None:
    ran = tried(client.run(door, "echo out; echo err >&2; exit 7"))
    assert (ran.stdout, ran.returncode) == (b"out\n", 7), ran
    assert b"err\n" in ran.stderr


@who("feed")
def test_input_to_its_end(client: Any, door: Door) -> None:
    said = os.urandom(MIB)
    assert done(client.feed(door, "sha256sum"), said).split()[0].decode() == hashlib.sha256(said).hexdigest()


@who("run")
def test_a_command_that_a_signal_ends(client: Any, front: Door) -> None:
    assert tried(client.run(front, "kill -TERM $$")).returncode == 143


def test_of_a_signal_sshd_tells_the_name_alone(sshd: Door) -> None:
    assert tried(OpenSSH().run(sshd, "kill -TERM $$")).returncode == 255, ENDED_BY_SIGNAL


@who("variables")
def test_variables_of_the_users_environment(client: Any, door: Door) -> None:
    said = done(client.variables(door, "echo $LC_TIDE $GIT_PROTOCOL [$NEVER]", LC_TIDE="high", GIT_PROTOCOL="2"))
    assert said == b"high 2 []\n"


@who("run")
def test_what_every_session_is_told(client: Any, door: Door) -> None:
    said = done(client.run(door, "echo $SSH_CONNECTION; echo $SSH_CLIENT; id -un; pwd; echo [$SSH_TTY]")).decode()
    connection, ours, user, place, terminal = said.splitlines()
    assert connection.split()[2:] == [door.node.address, str(door.node.port)]
    assert ours.split()[::2] == [connection.split()[0], str(door.node.port)]
    assert (user, place, terminal) == (door.says("id -un"), door.says("pwd"), "[]")


@who("agent")
def test_the_users_agent_inside(client: Any, door: Door, agent: dict[str, str]) -> None:
    assert b"only-mine" in tried(client.agent(door, "ssh-add -l"), variables=agent).stdout
    assert tried(client.run(door, "echo [$SSH_AUTH_SOCK]"), variables=agent).stdout == b"[]\n"


@who("shared")
def test_one_connection_for_many_sessions(client: Any, door: Door, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    with going_on(client.shared(door, place)):
        eventually(place.exists)
        running = [subprocess.Popen(client.shared(door, place, f"sleep 1; exit {n}")) for n in range(SESSIONS)]
        assert [process.wait(60) for process in running] == list(range(SESSIONS))


@who("jump")
def test_by_way_of_another(client: Any, door: Door) -> None:
    assert done(client.jump(door, "echo beyond; cat"), b"there\n") == b"beyond\nthere\n"


@who("alive")
def test_signs_of_life_keep_a_silent_session(client: Any, door: Door) -> None:
    """Whoever does not answer the client's is taken for lost after a second or two."""
    assert done(client.alive(door, "sleep 3; echo here")) == b"here\n"


@who("device")
def test_a_key_that_a_device_holds(client: Any, door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, key = Device(ED25519), tmp_path / "device.pub"
    key.write_text(device.line + "\n")
    node = door.node
    before = node.table.lookup(node.login)
    if before is None:
        pytest.skip("this sshd is not inside a sliver")
    node.table.change(node.login, keys=(*before.keys, parse_public_key(device.line)))
    kept = node.ssh("sudo tee -a /etc/ssh/bench_keys >/dev/null", input=key.read_bytes())
    assert door.name == "front door" or kept.returncode == 0
    try:
        with device_agent(device, tmp_path / "socket"):
            monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "socket"))
            assert tried(client.device(door, key, "echo in"), variables=os.environ).stdout == b"in\n"
    finally:
        node.table.entries[node.login] = before


@who("feed")
def test_the_server_wants_new_keys(client: Any, front: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours asks after half a gigabyte, whichever way the bytes go."""
    if not ALL:
        monkeypatch.setattr(BoundedPacketizer, "REKEY_BYTES", MIB)
    zeros = f"head -c {MUCH} /dev/zero"
    digest = done(["sh", "-c", f"{zeros} | sha256sum"])
    assert done(["sh", "-c", f"{shlex.join(client.run(front, zeros))} | sha256sum"]) == digest
    assert done(["sh", "-c", f"{zeros} | {shlex.join(client.feed(front, 'sha256sum'))}"]) == digest


def test_the_client_wants_new_keys(door: Door) -> None:
    argv = OpenSSH().argv(door, "-oRekeyLimit=1M")
    said = os.urandom(4 * MIB)
    assert done([*argv, "cat"], said) == said
