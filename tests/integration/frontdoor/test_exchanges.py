"""Keys that the server wants renewed while the client asks for other things, and input that comes in any pieces."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST, cMSG_GLOBAL_REQUEST

from nodemgr.frontdoor.limits import WINDOW
from nodemgr.frontdoor.transport import MAX_ASKED_IN_EXCHANGE, BoundedPacketizer
from tests.integration.frontdoor.conftest import Node
from tests.integration.frontdoor.test_streams import eventually

MIB = 1 << 20
PIECE = 32 << 10


class Asking(paramiko.Transport):
    """A client that, when it hears that the server wants new keys, first says what it had to say (RFC 4253, 7.1)."""

    requests: list[paramiko.Message]

    def _negotiate_keys(self, m: paramiko.Message) -> None:
        if self.authenticated and self.local_kex_init is None:
            while self.requests:
                self._send_message(self.requests.pop(0))  # type: ignore[attr-defined]
        super()._negotiate_keys(m)  # type: ignore[misc]


def message(kind: bytes, *parts: int | bool | str) -> paramiko.Message:
    made = paramiko.Message()
    made.add_byte(kind)
    for part in parts:
        if isinstance(part, bool):
            made.add_boolean(part)
        elif isinstance(part, int):
            made.add_int(part)
        else:
            made.add_string(part)
    return made


@pytest.fixture
def asking(node: Node, monkeypatch: pytest.MonkeyPatch) -> paramiko.Transport:
    monkeypatch.setattr(BoundedPacketizer, "REKEY_BYTES", MIB)
    transport = Asking((node.address, node.port))
    transport.requests = []
    transport.connect(username=node.login, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
    return transport


def all_of(channel: paramiko.Channel) -> bytes:
    said = b""
    while block := channel.recv(MIB):
        said += block
    return said


def test_what_is_asked_meanwhile_is_answered_after_the_new_keys(asking: Asking) -> None:
    """At once would be against the protocol, and whoever waits with it must not be who makes the keys."""
    much, other = asking.open_session(), asking.open_session()
    asking.requests = [
        message(cMSG_GLOBAL_REQUEST, "keepalive@openssh.com", True),
        message(cMSG_CHANNEL_OPEN, "session", 4_000, MIB, 32 << 10),
        message(cMSG_CHANNEL_REQUEST, other.remote_chanid, "exec", True, "echo other; exit 3"),
    ]
    other.event.clear()
    much.exec_command(f"head -c {4 * MIB} /dev/zero")
    assert all_of(much) == bytes(4 * MIB)
    assert asking.requests == []
    assert all_of(other) == b"other\n"
    assert (other.event_ready, other.recv_exit_status()) == (True, 3)
    assert asking.is_active()
    asking.close()
    asking.join(10)


def test_who_only_asks_and_makes_no_keys_is_cut_off(asking: Asking) -> None:
    channel = asking.open_session()
    question = message(cMSG_GLOBAL_REQUEST, "keepalive@openssh.com", True)
    asking.requests = [question] * (MAX_ASKED_IN_EXCHANGE + 1)
    channel.exec_command(f"head -c {4 * MIB} /dev/zero")
    assert len(all_of(channel)) < 4 * MIB
    asking.join(30)
    assert not asking.is_active()


@pytest.mark.parametrize("size", [1, 700, 40_000, 3 * MIB])
def test_input_arrives_whole_and_in_order(node: Node, size: int) -> None:
    """In pieces that go straight to the command, and in those that have to wait because it stops reading."""
    data = os.urandom(min(5 * MIB, size * 3_000))
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=node.login, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        channel = transport.open_session()
        channel.exec_command("for i in 1 2 3; do sleep 0.2; head -c 1000; done; cat")
        feeder = threading.Thread(target=feed, args=(channel, data, size))
        feeder.start()
        assert hashlib.sha256(all_of(channel)).digest() == hashlib.sha256(data).digest()
        feeder.join()
    transport.join(10)


def feed(channel: paramiko.Channel, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        channel.sendall(data[at : at + size])
    channel.shutdown_write()


def test_a_client_that_writes_before_it_reads_is_heard(node: Node) -> None:
    """Whoever reads from it must not wait until it reads, not even to open its window again."""
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=node.login, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        channel = transport.open_session(window_size=1 << 30)
        spared = f"(trap '' USR1; head -c {20 * MIB} /dev/zero) & (trap '' USR1; cat <&3 >/dev/null) &"
        said = "sleep 1; touch ~/has-said-what-it-can"
        channel.exec_command(f"exec 3<&0; trap 'touch ~/signalled' USR1; echo up; {spared} {said}; wait; wait")
        assert channel.recv(3) == b"up\n"
        reads = threading.Event()
        read = transport.packetizer.read_message

        def read_later() -> tuple[int, paramiko.Message]:
            reads.wait()
            return read()

        transport.packetizer.read_message = read_later  # type: ignore[method-assign]
        eventually(lambda: node.ssh("rm ~/has-said-what-it-can").returncode == 0)
        for _ in range(WINDOW // 2 // PIECE):
            channel.sendall(bytes(PIECE))
            time.sleep(0.05)  # for `cat` to take it
        signal = message(cMSG_CHANNEL_REQUEST, channel.remote_chanid, "signal", False, "USR1")
        transport._send_user_message(signal)  # type: ignore[attr-defined]
        eventually(lambda: node.ssh("rm ~/signalled").returncode == 0)
        reads.set()
        channel.shutdown_write()
        assert len(all_of(channel)) == 20 * MIB
    transport.join(10)
