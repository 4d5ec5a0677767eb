"""Who does not get in, and what nobody gets: passwords, wrong keys, X11, tunnels and stray forwarding."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paramiko
import pytest
from paramiko.common import cMSG_USERAUTH_REQUEST

from nodemgr.frontdoor import limits
from tests.integration.frontdoor.conftest import SLICE, Node, new_key
from tests.integration.frontdoor.test_streams import MIB, eventually, resident_bytes
from trust.sshkeys import parse_public_key

REFUSED = 255


def test_only_public_keys_are_offered(node: Node) -> None:
    done = node.ssh(
        "-oPreferredAuthentications=none,password,keyboard-interactive", "-oNumberOfPasswordPrompts=1", "--", "true"
    )
    assert done.returncode == REFUSED
    assert b"Permission denied (publickey)" in done.stderr


def test_a_right_looking_password_is_refused(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.start_client(timeout=30)
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_password(SLICE, "secret")
    transport.join(10)


def test_another_key_is_refused(node: Node, tmp_path: Path) -> None:
    assert node.ssh("true", key=new_key(tmp_path, "stranger")).returncode == REFUSED


def test_a_known_key_is_refused_for_another_slice(node: Node, slice_name: str) -> None:
    node.table.change(slice_name, keys=())
    assert node.ssh("true", login=slice_name).returncode == REFUSED
    assert node.ssh("true", login="root").returncode == REFUSED
    assert node.ssh("true").returncode == 0


def test_a_public_key_without_its_private_half_is_not_enough(node: Node, tmp_path: Path) -> None:
    """The first of the two questions carries no signature; a yes to it must let nobody in."""
    public = paramiko.Ed25519Key.from_private_key_file(str(node.key))
    stranger = paramiko.Ed25519Key.from_private_key_file(str(new_key(tmp_path, "stranger")))

    class Thief(paramiko.Ed25519Key):
        def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
            return stranger.sign_ssh_data(data)

    thief = Thief.from_private_key_file(str(node.key))
    assert thief.asbytes() == public.asbytes()
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.start_client(timeout=30)
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_publickey(SLICE, thief)
        assert not transport.is_authenticated()
    transport.join(10)


def test_keys_of_unknown_types_do_not_end_the_conversation(node: Node) -> None:
    """A FIDO key in the user's agent comes first; the right one must still get its turn."""
    offer = paramiko.Message()
    offer.add_byte(cMSG_USERAUTH_REQUEST)
    for word in (SLICE, "ssh-connection", "publickey"):
        offer.add_string(word)
    offer.add_boolean(False)
    for word in ("sk-ssh-ed25519@openssh.com", "no key at all"):
        offer.add_string(word)
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.start_client(timeout=30)
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_none(SLICE)
        assert transport.auth_handler is not None
        transport.auth_handler.auth_event = answered = threading.Event()
        transport._send_message(offer)  # type: ignore[attr-defined]
        assert answered.wait(30)
        key = paramiko.Ed25519Key.from_private_key_file(str(node.key))
        assert transport.auth_publickey(SLICE, key) == []
    transport.join(10)


def test_six_wrong_keys_and_no_seventh(node: Node, tmp_path: Path) -> None:
    wrong = [word for n in range(6) for word in ("-i", str(new_key(tmp_path, f"wrong{n}")))]
    argv = ["ssh", "-F", str(node.folder / "config"), *wrong, "-i", str(node.key), "-p", str(node.port)]
    done = subprocess.run([*argv, f"{SLICE}@{node.address}", "true"], capture_output=True, timeout=60)
    assert done.returncode == REFUSED
    five = [*argv[:3], *wrong[:10], "-i", str(node.key), "-p", str(node.port), f"{SLICE}@{node.address}", "true"]
    assert subprocess.run(five, capture_output=True, timeout=60).returncode == 0


def test_rsa_keys_work_with_sha2(node: Node, slice_name: str, tmp_path: Path) -> None:
    key = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key)], check=True)
    node.table.change(slice_name, keys=(parse_public_key(key.with_suffix(".pub").read_text()),))
    assert node.ssh("true", login=slice_name, key=key).returncode == 0
    sha1 = node.ssh("-oPubkeyAcceptedAlgorithms=ssh-rsa", "--", "true", login=slice_name, key=key)
    assert sha1.returncode == REFUSED


def test_ecdsa_keys_work(node: Node, slice_name: str, tmp_path: Path) -> None:
    key = tmp_path / "ecdsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", str(key)], check=True)
    node.table.change(slice_name, keys=(parse_public_key(key.with_suffix(".pub").read_text()),))
    assert node.ssh("true", login=slice_name, key=key).returncode == 0


def test_an_ended_lease_lets_nobody_in(node: Node, slice_name: str) -> None:
    node.table.change(slice_name, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert node.ssh("true", login=slice_name).returncode == REFUSED


def test_a_wrong_host_key_is_noticed_by_the_client(node: Node, tmp_path: Path) -> None:
    other = new_key(tmp_path, "other").with_suffix(".pub").read_text()
    known = tmp_path / "known_hosts"
    known.write_text(f"[{node.address}]:{node.port} {other}")
    done = node.ssh(f"-oUserKnownHostsFile={known}", "--", "true")
    assert done.returncode == REFUSED
    assert b"Host key verification failed" in done.stderr


def test_no_x11_is_forwarded(node: Node) -> None:
    done = node.ssh("-Y", "--", 'echo "[$DISPLAY]"', env=os.environ | {"DISPLAY": ":77"})
    assert done.stdout == b"[]\n"


def test_channels_that_there_are_not_are_refused(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        for kind in ("tun@openssh.com", "auth-agent@openssh.com", "forwarded-tcpip", "nonsense"):
            with pytest.raises(paramiko.ChannelException):
                transport.open_channel(kind, ("127.0.0.1", 1), ("127.0.0.1", 1))
    transport.join(10)


def test_another_subsystem_is_refused(node: Node) -> None:
    assert node.ssh("-s", "--", "netconf").returncode == REFUSED


def test_direct_tcpip_to_peers_front_doors_only(node: Node) -> None:
    jump = f"-oProxyCommand=ssh {' '.join(node.options())} -W %h:%p {SLICE}@{node.address}"
    assert node.ssh(jump, "--", "hostname").stdout.decode().strip() == f"{SLICE}-n1"
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        done = node.ssh("-W", f"127.0.0.1:{port}", "--")
        assert done.returncode == REFUSED
        service.setblocking(False)
        with pytest.raises(BlockingIOError):
            service.accept()


def test_direct_tcpip_into_the_own_sliver(node: Node, slice_name: str) -> None:
    """The sliver shares the host's network; still only its own listeners are reached, not another sliver's."""
    server = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
    with node.start(f"exec python3 -c \"{server} c, _ = s.accept(); c.sendall(b'hello'); c.close()\"") as inside:
        port = int(inside.stdout.readline())
        assert node.ssh("-W", f"127.0.0.1:{port}", "--", login=slice_name).returncode == REFUSED
        assert node.ssh("-W", f"localhost:{port}", "--").stdout == b"hello"


def test_the_slices_own_key_logs_in_and_forwards_nothing(node: Node) -> None:
    key = node.folder / f"{SLICE}_slice_key"
    assert node.ssh("whoami", key=key).stdout.decode().strip() == SLICE
    assert node.ssh("-W", f"{node.address}:{node.port}", "--", key=key).returncode == REFUSED


def test_a_second_command_on_one_channel_is_refused(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        channel = transport.open_session()
        channel.exec_command("sleep 5")
        with pytest.raises(paramiko.SSHException):
            channel.exec_command("true")
    transport.join(10)


def test_channels_of_one_client_are_bounded(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        kept: list[paramiko.Channel] = []
        while _opens(transport, kept):
            pass
        assert 10 <= len(kept) < 100
        kept.pop().close()
        eventually(lambda: _opens(transport, kept))
    transport.join(10)


def _opens(transport: paramiko.Transport, kept: list[paramiko.Channel]) -> bool:
    try:
        kept.append(transport.open_session())
    except paramiko.ChannelException:
        return False
    return True


def test_a_command_with_a_zero_byte_is_refused(node: Node) -> None:
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        with pytest.raises(paramiko.SSHException):
            transport.open_session().exec_command(b"true\0; false")
    transport.join(10)


def test_a_client_that_ignores_its_window_is_thrown_out(node: Node) -> None:
    before = resident_bytes()
    with paramiko.Transport((node.address, node.port)) as transport:
        transport.connect(username=SLICE, pkey=paramiko.Ed25519Key.from_private_key_file(str(node.key)))
        channel = transport.open_session()
        channel.exec_command("sleep 600")
        channel.out_window_size = 1 << 40
        with pytest.raises((OSError, EOFError)):
            channel.sendall(bytes(128 * MIB))
    transport.join(10)
    assert resident_bytes() - before < 32 * MIB


def test_one_slices_connections_are_bounded(node: Node, slice_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS_PER_SLICE", 2)
    with node.start("echo in; cat", login=slice_name) as first, node.start("echo in; cat", login=slice_name) as second:
        assert first.stdout.readline() == second.stdout.readline() == b"in\n"
        assert node.ssh("true", login=slice_name).returncode == REFUSED
        assert node.ssh("true").returncode == 0
    eventually(lambda: node.ssh("true", login=slice_name).returncode == 0)


def test_one_slices_channels_are_bounded_over_all_its_connections(
    node: Node, slice_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CHANNELS_PER_SLICE", 1)
    with node.start("echo in; cat", login=slice_name) as first:
        assert first.stdout.readline() == b"in\n"
        assert node.ssh("true", login=slice_name).returncode == REFUSED
        assert node.ssh("true").returncode == 0
