"""What a stranger can make the node compute before a login, which is little; and who gets in all the same."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest
from paramiko.common import MSG_KEXINIT, cMSG_USERAUTH_REQUEST

from nodemgr.frontdoor.limits import NARROW_WINDOW, WIDE_PER_SLICE, WINDOW
from nodemgr.frontdoor.transport import EXCHANGE_SECONDS, MAX_EXCHANGES_BEFORE_LOGIN, MAX_PACKET_BEFORE_LOGIN
from tests.integration.frontdoor.conftest import SLICE, Node
from tests.integration.frontdoor.test_streams import MIB
from trust.sshkeys import parse_public_key

REFUSED = 255


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "KexAlgorithms=diffie-hellman-group16-sha512",
        "KexAlgorithms=diffie-hellman-group-exchange-sha256",
        "KexAlgorithms=ecdh-sha2-nistp384",
        "KexAlgorithms=ecdh-sha2-nistp521",
        "HostKeyAlgorithms=rsa-sha2-512",
        "HostKeyAlgorithms=ecdsa-sha2-nistp256",
        "Ciphers=aes256-cbc",
        "MACs=hmac-sha1",
    ],
)
def test_what_is_weak_or_costs_python_time_is_not_spoken(node: Node, option: str) -> None:
    assert node.ssh(f"-o{option}", "--", "true").returncode == REFUSED


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=curve25519-sha256",
        "KexAlgorithms=curve25519-sha256@libssh.org",
        "KexAlgorithms=ecdh-sha2-nistp256",
        "Ciphers=aes128-ctr",
        "Ciphers=aes192-ctr",
        "Ciphers=aes256-ctr",
        "Ciphers=aes128-gcm@openssh.com",
        "Ciphers=aes256-gcm@openssh.com",
        "MACs=hmac-sha2-256",
        "MACs=hmac-sha2-512",
        "MACs=hmac-sha2-256-etm@openssh.com",
        "MACs=hmac-sha2-512-etm@openssh.com",
        "Compression=yes",
    ],
)
def test_what_clients_speak_gets_in(node: Node, option: str) -> None:
    assert node.ssh(f"-o{option}", "--", "echo in").stdout == b"in\n"


class GuessingTransport(paramiko.Transport):
    """A client that does not wait for the server's list (RFC 4253, 7): its first packet of X25519 follows its own."""

    def _send_message(self, data: paramiko.Message) -> None:
        said = data.asbytes()
        if said[0] == MSG_KEXINIT and not self.is_authenticated():
            said = said[:-5] + b"\1" + said[-4:]
            data = paramiko.Message(said)
            self.local_kex_init = self._latest_kex_init = said
        super()._send_message(data)  # type: ignore[misc]
        if said[0] == MSG_KEXINIT and not self.is_authenticated():
            guess = paramiko.Message()
            guess.add_byte(bytes([30]))
            guess.add_string(bytes(32))  # of another pair than the right one's, so that it cannot be taken for it
            super()._send_message(guess)  # type: ignore[misc]


@pytest.mark.parametrize("kex", ["curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"])
def test_a_wrong_guess_of_the_key_exchange_is_dropped(door: Node, kex: str) -> None:
    with GuessingTransport((door.address, door.port)) as transport:
        transport.get_security_options().kex = (kex,)
        transport.connect(username=door.login, pkey=paramiko.Ed25519Key.from_private_key_file(str(door.key)))
        channel = transport.open_session()
        channel.exec_command("echo in")
        assert channel.recv(100) == b"in\n"
    transport.join(10)


def test_the_hybrid_of_newer_clients_gets_in(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.get_security_options().kex = ("mlkem768x25519-sha256",)
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
    transport.join(10)


def test_a_strangers_key_is_compared_and_not_read(
    node: Node, slice_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a number of 256 KiB took paramiko 6.5 s of the interpreter."""
    read: list[int] = []
    inflate = paramiko.util.inflate_long

    def noted(number: bytes, always_positive: bool = False) -> int:
        read.append(len(number))
        return inflate(number, always_positive)

    key = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key)], check=True)
    monkeypatch.setattr(paramiko.util, "inflate_long", noted)
    assert node.ssh("true", login=slice_name, key=key).returncode == REFUSED
    assert read == []
    node.table.change(slice_name, keys=(parse_public_key(key.with_suffix(".pub").read_text()),))
    assert node.ssh("true", login=slice_name, key=key).returncode == 0
    assert read != []


def test_a_signature_that_is_too_long_is_not_read(node: Node) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(node.key))
    request = paramiko.Message()
    request.add_byte(cMSG_USERAUTH_REQUEST)
    for word in (SLICE, "ssh-connection", "publickey"):
        request.add_string(word)
    request.add_boolean(True)
    for blob in ("ssh-ed25519", key.asbytes(), bytes(MAX_PACKET_BEFORE_LOGIN // 2)):
        request.add_string(blob)
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.start_client(timeout=30)
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_none(SLICE)
        assert transport.auth_handler is not None
        transport.auth_handler.auth_event = answered = threading.Event()
        transport._send_message(request)  # type: ignore[attr-defined]
        assert answered.wait(30)
        assert not transport.is_authenticated()
        assert transport.auth_publickey(SLICE, key) == []
    transport.join(10)


def test_a_handshake_takes_no_thread_beside_the_connections_own(node: Node) -> None:
    """paramiko's timer outlived a handshake that was broken off by 15 s."""
    with socket.create_connection((node.address, node.port), timeout=60) as sock:
        sock.sendall(b"SSH-2.0-x\r\n")
        said = b""
        while b"ssh-ed25519" not in said:  # the server's offer, which comes after that
            said += sock.recv(4096)
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_keys_are_exchanged_a_few_times_before_the_login(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.start_client(timeout=30)
        for _ in range(MAX_EXCHANGES_BEFORE_LOGIN - 1):
            transport.renegotiate_keys()
        with pytest.raises((paramiko.SSHException, EOFError)):
            transport.renegotiate_keys()
    transport.join(10)


def test_after_the_login_keys_are_exchanged_as_often_as_a_client_likes_but_not_faster(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        began = time.monotonic()
        for _ in range(2 * MAX_EXCHANGES_BEFORE_LOGIN):
            transport.renegotiate_keys()
        assert time.monotonic() - began >= (2 * MAX_EXCHANGES_BEFORE_LOGIN - 1) * EXCHANGE_SECONDS
    transport.join(10)
    data = os.urandom(MIB)
    assert node.ssh("-oRekeyLimit=256K", "--", "cat", input=data).stdout == data


def test_only_the_first_channels_of_a_slice_have_a_wide_window(node: Node, slice_name: str) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=slice_name, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        channels = [transport.open_session() for _ in range(WIDE_PER_SLICE + 2)]
        assert [channel.out_window_size for channel in channels] == [WINDOW] * WIDE_PER_SLICE + [NARROW_WINDOW] * 2
        last = channels[-1]
        last.exec_command("cat")
        data = os.urandom(4 * NARROW_WINDOW)
        feeder = threading.Thread(target=_feed(last, data))
        feeder.start()
        assert last.makefile("rb").read() == data
        feeder.join()
    transport.join(10)


def _feed(channel: paramiko.Channel, data: bytes) -> Callable[[], None]:
    def feed() -> None:
        channel.sendall(data)
        channel.shutdown_write()

    return feed
