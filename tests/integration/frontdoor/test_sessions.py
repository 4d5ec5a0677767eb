"""What a session knows of its client, and the client of its end: beside a real sshd where it does the same."""

from __future__ import annotations

import dataclasses
import signal
import time

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_REQUEST

from nodemgr.frontdoor.server import FrontDoorServer
from tests.integration.frontdoor.conftest import Node
from trust.clock import SystemClock

GIVEN = {"LANG": "C.UTF-8", "LC_TIME": "C", "COLORTERM": "truecolor", "GIT_PROTOCOL": "version=2"}
KEPT_OUT = {"LD_PRELOAD": "/x", "BASH_ENV": "/x", "MY_SECRET": "x", "SSH_TTY": "/x"}


def test_a_session_knows_who_came_from_where(door: Node) -> None:
    client, port, here, there = door.ssh("echo $SSH_CONNECTION; echo [$SSH_TTY]").stdout.decode().split()[:4]
    assert (client, here, there) == ("127.0.0.1", door.address, str(door.port))
    assert door.ssh("-T", "--", "echo $SSH_CLIENT").stdout.decode().split()[0::2] == ["127.0.0.1", str(door.port)]
    assert 0 < int(port) < 65536
    said = door.ssh("-tt", "--", "echo $SSH_TTY; tty").stdout.decode().split()
    assert said[0] == said[1]
    assert said[0].startswith("/dev/pts/")


def test_the_usual_variables_come_with_the_client(door: Node) -> None:
    both = GIVEN | KEPT_OUT
    options = [f"-oSetEnv={' '.join(f'{name}={value}' for name, value in both.items())}", "--"]
    said = dict(line.partition("=")[::2] for line in door.ssh(*options, "env").stdout.decode().splitlines())
    assert GIVEN.items() <= said.items()
    assert not any(said.get(name) == value for name, value in KEPT_OUT.items())


def test_an_operator_may_take_more_and_never_what_steers_a_loader(node: Node) -> None:
    key = node.folder / "host_key"
    more = ["MY_*", "LD_*", "PATH"]
    server = FrontDoorServer(node.driver, node.table, key, "127.0.0.1", 0, SystemClock(), accept_env=more)
    _, port = server.start()
    try:
        door = dataclasses.replace(node, port=port)
        options = ["-oStrictHostKeyChecking=no", "-oSetEnv=MY_A=1 LD_PRELOAD=/x PATH=/x", "--"]
        said = door.ssh(*options, "env").stdout.decode().splitlines()
    finally:
        server.stop()
    assert "MY_A=1" in said
    assert not [line for line in said if line.startswith(("LD_", "PATH=/x"))]


def test_bash_reads_its_rc_for_a_command_as_under_sshd(node: Node, slice_name: str) -> None:
    """Debian's bash does, when it sees that it was started by sshd."""
    node.ssh("echo 'echo from-the-rc' >~/.bashrc", login=slice_name)
    assert node.ssh("true", login=slice_name).stdout == b"from-the-rc\n"


def test_a_signal_reaches_the_whole_process_group(node: Node) -> None:
    """sshd does it too, but for root, as whom it may run here. (OpenSSH's client sends none.)"""
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=node.login, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        channel = transport.open_session()
        channel.settimeout(60)
        child = "(trap 'echo child; exit' USR1; echo up; while :; do sleep 0.1; done)"
        channel.exec_command(f"trap 'echo got; wait; exit 5' USR1; {child} & wait; wait")
        said = b""
        while b"up" not in said:
            said += channel.recv(100)
        time.sleep(0.2)
        _send_signal(transport, channel, "USR1")
        while block := channel.recv(100):
            said += block
        assert {b"got", b"child"} <= set(said.split())
        assert channel.recv_exit_status() == 5
    transport.join(10)


def _send_signal(transport: paramiko.Transport, channel: paramiko.Channel, name: str) -> None:
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string(name)
    transport._send_user_message(message)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["TERM", "SEGV"])
def test_the_end_by_a_signal_has_its_name(door: Node, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, bool, str]] = []
    original = paramiko.Channel._handle_request  # type: ignore[attr-defined]

    def listen(channel: paramiko.Channel, message: paramiko.Message) -> None:
        said = paramiko.Message(message.get_remainder())
        if said.get_text() == "exit-signal" and not said.get_boolean():
            heard.append((said.get_text(), said.get_boolean(), said.get_text()))
        original(channel, message)

    table = paramiko.Transport._channel_handler_table  # type: ignore[attr-defined]
    monkeypatch.setitem(table, 98, listen)
    with paramiko.Transport((door.address, door.port)) as transport:
        transport.connect(username=door.login, pkey=paramiko.Ed25519Key.from_private_key_file(str(door.key)))
        channel = transport.open_session()
        channel.exec_command(f"ulimit -c 0; kill -{name} $$; sleep 5")
        while channel.recv(100):
            pass
        end = time.monotonic() + 30
        while not heard and time.monotonic() < end:
            time.sleep(0.05)
    transport.join(10)
    assert [(each[0], each[1]) for each in heard] == [(name, False)]


def test_the_status_after_a_signal_is_128_and_its_number_where_sshd_gives_none(node: Node, sshd: Node) -> None:
    """OpenSSH's client ignores the signal's name: sshd leaves it with 255, as if the connection had failed."""
    assert node.ssh("kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert sshd.ssh("kill -KILL $$").returncode == 255
