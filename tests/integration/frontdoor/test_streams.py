"""Much data, slow readers, lost clients: what stays bounded and what ends."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import paramiko

from tests.integration.frontdoor.conftest import SLICE, Node

MIB = 1 << 20


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.05)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def inside(node: Node, command: str) -> str:
    done = node.ssh(command)
    return str(done.stdout.decode().strip())


def test_a_hundred_megabytes_out(node: Node) -> None:
    with node.start(f"head -c {100 * MIB} /dev/zero | tee >(sha256sum >&2)") as client:
        digest = hashlib.sha256()
        while block := client.stdout.read(MIB):
            digest.update(block)
        assert client.stderr.read().split()[0].decode() == digest.hexdigest()
        assert client.wait() == 0


def test_a_hundred_megabytes_in(node: Node, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(100 * MIB)
    with big.open("rb") as file:
        done = node.ssh("wc -c", stdin=file)
    assert done.stdout.strip() == str(100 * MIB).encode()


def test_keys_are_renewed_in_the_middle_of_a_transfer(node: Node) -> None:
    done = node.ssh("-oRekeyLimit=1M", "--", f"head -c {8 * MIB} /dev/urandom | tee >(sha256sum >&2)")
    assert done.stderr.split()[0].decode() == hashlib.sha256(done.stdout).hexdigest()


def test_a_stalled_reader_stops_the_writer_and_costs_no_memory(node: Node) -> None:
    before = resident_bytes()
    with node.start(f"for i in $(seq 80); do head -c {MIB} /dev/zero; echo $i > ~/progress; done") as client:
        seen: list[str] = []

        def stalled() -> bool:
            seen.append(inside(node, "sleep 0.3; cat ~/progress 2>/dev/null"))
            return len(seen) > 2 and seen[-1] == seen[-2] != ""

        eventually(stalled)
        assert int(seen[-1]) < 50
        assert resident_bytes() - before < 64 * MIB
        assert len(client.communicate()[0]) == 80 * MIB
        assert client.returncode == 0


def test_a_command_that_does_not_read_stops_the_client(node: Node) -> None:
    before = resident_bytes()
    with node.start("sleep 600") as client:
        os.set_blocking(client.stdin.fileno(), False)
        sent = 0
        quiet = 0
        while quiet < 10:
            try:
                sent += os.write(client.stdin.fileno(), bytes(MIB))
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.05)
            assert sent < 64 * MIB
        assert resident_bytes() - before < 64 * MIB
        client.kill()


def test_a_command_that_ends_before_it_has_read_everything(node: Node) -> None:
    done = node.ssh("head -c 5; exit 4", input=bytes(20 * MIB))
    assert (done.stdout, done.returncode) == (bytes(5), 4)


def test_data_that_comes_before_the_command_runs_is_kept(node: Node) -> None:
    """A client that sends its input in the same breath as its request, as fast ones do."""
    with paramiko.Transport((node.address, node.port)) as transport:
        key = paramiko.Ed25519Key.from_private_key_file(str(node.key))
        transport.connect(username=SLICE, pkey=key)
        channel = transport.open_session()
        channel.sendall(b"early ")
        channel.exec_command("cat")
        channel.sendall(b"late")
        channel.shutdown_write()
        said = b""
        while block := channel.recv(1024):
            said += block
        assert said == b"early late"
        assert channel.recv_exit_status() == 0
    transport.join(10)


def test_a_lost_client_hangs_up_the_whole_process_group(node: Node) -> None:
    with node.start("trap 'touch ~/hung-up; exit' HUP; sleep 601 & sleep 602 & echo $$; wait") as client:
        assert client.stdout.readline()
        client.kill()
        eventually(lambda: inside(node, "pgrep -cf 'sleep 60[12]'") == "0")
        eventually(lambda: inside(node, "ls ~/hung-up 2>/dev/null") != "")


def test_what_outlives_its_group_leader_is_killed_too(node: Node) -> None:
    stubborn = "sh -c 'trap : HUP; echo ready; while :; do sleep 0.07; done'"
    with node.start(f"{stubborn} & wait") as client:
        assert client.stdout.readline() == b"ready\n"
    eventually(lambda: inside(node, "pgrep -cf 'sleep 0.0[7]'") == "0")


def test_what_ignores_the_hangup_signal_by_handling_it_is_killed(node: Node) -> None:
    with node.start("trap 'echo no' HUP; echo ready; while :; do sleep 0.1; done") as client:
        assert client.stdout.readline() == b"ready\n"
        client.kill()
        eventually(lambda: inside(node, "pgrep -cf 'while [:]'") == "0")


def test_what_was_started_with_nohup_survives_a_lost_client(node: Node) -> None:
    with node.start("echo ready; exec nohup sh -c 'sleep 2.5; touch ~/survived' >/dev/null 2>&1") as client:
        assert client.stdout.readline() == b"ready\n"
        time.sleep(0.2)
        client.kill()
        eventually(lambda: inside(node, "ls ~/survived 2>/dev/null") != "")


def test_a_daemon_outlives_its_session(node: Node) -> None:
    node.ssh("setsid sleep 603 >/dev/null 2>&1 < /dev/null & exit 0")
    assert inside(node, "pgrep -c -f '^sleep 603'") == "1"
    node.ssh("pkill -f '^sleep 603'")


def test_a_stopped_session_ends_with_its_client(node: Node) -> None:
    """nsenter stops itself when its child stops; the hangup wakes both."""
    with node.start("echo ready; kill -STOP $$; sleep 604") as client:
        assert client.stdout.readline() == b"ready\n"
        time.sleep(0.2)
        client.kill()
        eventually(lambda: inside(node, "ps -eo stat= | grep -c '^T'") == "0")


def test_only_three_descriptors_inside(node: Node) -> None:
    leak = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(leak, True)  # as a library or a careless parent leaves one
    try:
        assert inside(node, "ls /proc/self/fd | tr '\\n' ' '") == "0 1 2 3"  # 3 is ls's own
    finally:
        os.close(leak)


def test_the_environment_is_fixed_but_for_what_the_client_may_bring(node: Node) -> None:
    done = node.ssh("-oSendEnv=SECRET LANG", "--", "env", env=os.environ | {"SECRET": "x", "LANG": "de_DE.UTF-8"})
    names = {line.split("=")[0]: line.split("=", 1)[1] for line in done.stdout.decode().splitlines()}
    for name in ("SHLVL", "_", "PWD", "OLDPWD", "HOSTNAME", "SSH_CLIENT", "SSH_CONNECTION"):  # bash's own, and podman's
        names.pop(name, None)
    alone = {} if node.uid else {"TAR_OPTIONS": "--no-same-owner"}
    assert names == alone | {
        "HOME": f"/home/{SLICE}",
        "USER": SLICE,
        "LOGNAME": SLICE,
        "SHELL": "/bin/bash",
        "LANG": "de_DE.UTF-8",
        "PATH": ("" if node.uid else "/etc/slice/bin:")
        + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def test_children_do_not_run_on_after_their_clients_close_output(node: Node) -> None:
    """`ssh node yes | head -1`: the writer gets SIGPIPE or a hangup, not an endless life."""
    with node.start("yes") as client:
        assert client.stdout.readline() == b"y\n"
    eventually(lambda: inside(node, "pgrep -cx yes") == "0")
