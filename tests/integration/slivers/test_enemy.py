"""A sliver's user is an enemy of its node: what cannot be reached, changed or gained from inside, for every driver."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodemgr.slivers.inside.etc import LOCALHOST
from nodemgr.slivers.process.processes import Process
from tests.integration.slivers.conftest import DRIVERS, Node, open_node, run_async

# What may be named on a file system and still must not be there; the first are a machine's too, its own.
HOST_FOLDERS = (
    *("/boot", "/mnt", "/srv", "/sys/kernel", "/sys/devices/virtual", "/sys/devices/system/node", "/sys/block"),
    *("/work", "/host"),
)

SYS_ADMIN = 1 << 21


def keeper(node: Node, slice: str) -> Process:
    """The first process of a sliver, as the host sees it."""
    found = node.driver._existing(slice)[0].keeper()  # type: ignore[attr-defined]
    assert isinstance(found, Process)
    return found


@pytest.fixture(scope="module", params=DRIVERS)
def sliver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, podman: str | None
) -> Iterator[Node]:
    """An enemy's sliver and a victim's, shared by the tests that leave them as they were."""
    with open_node(request.param, tmp_path_factory.mktemp("enemy"), podman) as node:
        node.make("enemy")
        node.make("victim")
        yield node


def test_the_node_managers_folder_is_not_there(sliver: Node) -> None:
    secret = sliver.folder.parent / "node-secret"
    secret.write_text("key of the node")
    inside = sliver.run("enemy", f"cat {secret}; ls {sliver.folder.parent} {sliver.folder}; ls -A /tmp /var/tmp /run")
    assert "key of the node" not in inside.stdout
    assert inside.stderr.count("No such file or directory") == 3
    assert [word for word in inside.stdout.split() if word not in ("lock", "screen")] == ["/run:", "/tmp:", "/var/tmp:"]


def test_only_a_few_folders_of_the_host_are_there(sliver: Node) -> None:
    top = sliver.says("enemy", "ls -A /").split()
    assert set(top) <= {
        *("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"),
        *("dev", "proc", "sys", "tmp", "var", "run", "home", "root", "opt"),
        *(("boot", "media", "mnt", "srv") if sliver.has_root else ()),
    }
    assert sliver.says("enemy", "ls -A /home") == "enemy"
    if sliver.has_root:
        assert sliver.says("enemy", "ls -A /boot /media /mnt /opt /srv | grep -v : | tr -d '\\n'") == ""
    else:
        assert sliver.says("enemy", "ls -A /var").split() == ["cache", "lib", "log", "tmp"]
    for folder in HOST_FOLDERS[3 if sliver.has_root else 0 :]:
        assert sliver.run("enemy", f"ls {folder}").returncode != 0


def test_etc_is_the_slivers_own(sliver: Node) -> None:
    assert sliver.run("enemy", "cat /etc/shadow /etc/gshadow /etc/sudoers").stdout == ""
    entries = [line.split(":") for line in sliver.says("enemy", "cat /etc/passwd").splitlines()]
    if sliver.has_root:
        assert {words[0] for words in entries if 1000 <= int(words[2]) < 65534} == {"enemy"}
        assert set(sliver.root_says("enemy", "cut -d: -f2 /etc/shadow").split()) == {"*"}
    else:
        assert [words[0] for words in entries] == ["enemy", "nobody"]


def test_sockets_of_the_host_are_not_there(sliver: Node) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        path = sliver.folder.parent / "control"
        control.bind(str(path))
        control.listen()
        done = sliver.run("enemy", f"perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(\"{path}\") or die $!'")
        assert "No such file or directory" in done.stderr


def test_another_slivers_home_is_not_there(sliver: Node) -> None:
    sliver.says("victim", "echo precious > ~/secret; chmod 777 ~ ~/secret")
    tries = [
        "cat /home/victim/secret",
        f"cat {sliver.folder}/victim/home/secret",
        "cat /proc/*/root/home/victim/secret",
        "find / -name secret -not -path '/proc/*' 2>/dev/null",
        "cat ~/../victim/secret /tmp/../home/victim/secret",
    ]
    for command in tries:
        assert sliver.run("enemy", command).stdout == ""


def test_only_its_own_processes_are_seen_and_signalled(sliver: Node) -> None:
    neighbour = keeper(sliver, "victim").pid
    inside = sliver.says("enemy", "ls /proc | grep -E '^[0-9]+$' | xargs -I% readlink /proc/%/ns/pid | sort -u | wc -l")
    assert inside == "1"
    for pid in (os.getpid(), os.getppid(), neighbour):
        script = f"kill -0 {pid}; cat /proc/{pid}/environ; ls /proc/{pid}/root"
        done = sliver.run("enemy", script)
        if f"/proc/{pid}" not in sliver.says("enemy", "ls -d /proc/[0-9]*").split():
            assert done.stderr.count("No such") == 3
            assert done.stdout == ""
    sliver.run("enemy", "kill -9 -1")
    assert keeper(sliver, "victim").alive
    assert sliver.says("victim", "echo alive") == "alive"


def test_process_one_gives_nothing_away(sliver: Node) -> None:
    done = sliver.run(
        "enemy", "cat /proc/1/environ; ls -l /proc/1/fd; ls -A /proc/1/root/; ls /proc/1/cwd/; cat /proc/1/maps"
    )
    for secret in ("DSLICE", " -> ", "usr", "/etc"):
        assert secret not in done.stdout
    assert done.stderr.count("Permission denied") >= 4


def test_process_one_cannot_be_killed_from_inside(sliver: Node) -> None:
    sliver.run("enemy", "kill -9 1; kill -TERM 1; kill -STOP 1")
    assert sliver.says("enemy", "echo alive") == "alive"


def test_no_capability_is_held_or_can_be_gained(sliver: Node) -> None:
    status = sliver.says("enemy", "grep -E '^(Cap|NoNew)' /proc/self/status; grep -E '^(Cap|NoNew)' /proc/1/status")
    values = [line.split() for line in status.splitlines()]
    if sliver.has_root:
        assert {value for name, value in values[:3]} == {"0" * 16}
        assert not any(int(value, 16) & SYS_ADMIN for name, value in values if name.startswith("Cap"))
        return
    assert {value for name, value in values if name.startswith("Cap")} == {"0" * 16}
    assert [value for name, value in values if name == "NoNewPrivs:"] == ["1", "1"]


def test_setuid_programs_give_nothing(sliver: Node) -> None:
    """no-new-privileges for processes, and nosuid on every mount."""
    options = sliver.says("enemy", "cut -d' ' -f6 /proc/self/mountinfo").splitlines()
    if sliver.has_root:
        assert sliver.root("enemy", "install -m 4755 /bin/cat ~enemy/cat").returncode == 0
        assert "Uid:\t1000\t1000\t1000" in sliver.says("enemy", "~/cat /proc/self/status")
        return
    if sliver.driver.name != "podman":  # whose root folder and devices rely on no-new-privileges alone
        assert all("nosuid" in words.split(",") for words in options)
    done = sliver.run("enemy", "cp /bin/cat ~/cat && chmod 4755 ~/cat && ~/cat /proc/self/status")
    assert "CapEff:\t0000000000000000" in done.stdout


def test_the_root_is_no_user_with_rights_on_the_host(sliver: Node) -> None:
    uid = os.stat(f"/proc/{keeper(sliver, 'enemy').pid}").st_uid
    if os.geteuid() == 0:
        assert uid != 0
        other = os.stat(f"/proc/{keeper(sliver, 'victim').pid}").st_uid
        assert (uid == other) == sliver.shares_host_users
    else:
        assert uid == os.geteuid()


def test_the_kernels_switches_cannot_be_turned(sliver: Node) -> None:
    files = "find /proc/sys /proc/sysrq-trigger /proc/irq /proc/bus -type f 2>/dev/null"
    opened = sliver.run("enemy", f"{files} | while read -r f; do (: >> $f) 2>/dev/null && echo $f; done; true")
    assert opened.stdout == ""
    assert sliver.run("enemy", "hostname changed").returncode != 0


def test_nothing_of_the_host_can_be_written(sliver: Node) -> None:
    for path in ("/usr/bin/x", "/etc/passwd", "/etc/ssh/ssh_config", "/etc/slice/ssh_key", "/x", "/dev/x", "/lib/x"):
        if path == "/dev/x" and sliver.driver.name == "podman":
            continue  # its own /dev, whose memory counts as the sliver's
        done = sliver.run("enemy", f"echo x > {path}")
        assert done.returncode != 0, path
        assert "Read-only" in done.stderr or "Permission denied" in done.stderr
    assert sliver.run("enemy", "chmod 666 /etc/slice/ssh_key; rm -f /etc/slice/ssh_key; mv /etc /tmp/").returncode != 0
    assert sliver.says("enemy", "stat -c %a /etc/slice/ssh_key") == "400"


def test_nothing_can_be_mounted(sliver: Node) -> None:
    tries = [
        "mount -t tmpfs x /tmp",
        "mount --bind / /tmp",
        "mount -o remount,rw /usr",
        "mount -o remount,bind,rw /etc",
        "mount -t proc proc /tmp",
        "umount /etc",
        "umount -l /proc",
        "unshare --mount true",
        "unshare --user --map-root-user true",
        "unshare --user true",
        "unshare --net true",
        "nsenter -t 1 -m -p true",
        "chroot / true",
        "pivot_root / /tmp",
    ]
    for command in tries:
        assert sliver.run("enemy", command).returncode != 0, command


def test_devices(sliver: Node) -> None:
    inside = set(
        sliver.says("enemy", "find /dev \\( -type b -o -type c \\) -not -path '/dev/pts/*' -printf '%f '").split()
    )
    assert inside <= {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
    assert sliver.run("enemy", "mknod ~/disk b 8 0").returncode != 0
    assert sliver.run("enemy", "mknod ~/mem c 1 1").returncode != 0
    assert sliver.run("enemy", "head -c 1 /proc/kcore").returncode != 0
    assert sliver.run("enemy", "dmesg --read-clear").returncode != 0


def test_other_processes_cannot_be_traced(sliver: Node) -> None:
    """ptrace of PID 1 gives no more than one has; of the host's there is nothing to name."""
    trace = "use strict; my $r = syscall(101, 16, {pid}, 0, 0); print $r == 0 ? q(attached) : q(refused)"
    if os.uname().machine != "x86_64":
        pytest.skip("the number of ptrace is known here for x86_64 only")
    assert sliver.says("enemy", f"perl -e '{trace.format(pid=os.getpid())}'") == "refused"


def test_the_host_ipc_is_not_there(sliver: Node) -> None:
    made = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    try:
        assert number not in sliver.says("enemy", "ipcs -m").split()
    finally:
        subprocess.run(["ipcrm", "-m", number], check=True)


def test_no_descriptor_of_the_node_manager_leaks(sliver: Node) -> None:
    left_open = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    for descriptor in left_open:
        os.set_inheritable(descriptor, True)
    try:
        sliver.make("late")
        for slice in ("enemy", "late"):
            assert sliver.says(slice, "cd /proc/self/fd && echo *") == "0 1 2 3"
            if sliver.driver.name == "podman":  # into whose first process nobody inside may look
                assert sorted(os.listdir(f"/proc/{keeper(sliver, slice).pid}/fd")) == ["0", "1", "2"]
            else:
                assert sliver.root_says(slice, "cd /proc/1/fd && echo *") == "0 1 2"
    finally:
        for descriptor in left_open:
            os.close(descriptor)


def test_planted_links_lead_nobody_out(node: Node, tmp_path: Path) -> None:
    """A key push, a restart and a removal after the sliver put links wherever it can write."""
    precious = tmp_path / "authorized_keys"
    precious.write_text("mine")
    node.make("enemy")
    plant = (
        f"rm -rf ~/.ssh; ln -s {tmp_path} ~/.ssh; ln -s {precious} ~/ssh_key; ln -s {tmp_path} /tmp/etc; ln -s / ~/x"
    )
    node.says("enemy", plant)
    other = node.spec("enemy")
    run_async(node.driver.set_slice_key("enemy", private_key=other.private_key, public_key=other.public_key))
    node.driver.write_host_files("hosts", "config", LOCALHOST)
    run_async(node.driver.stop("enemy"))
    run_async(node.driver.start("enemy"))
    run_async(node.driver.delete("enemy"))
    assert precious.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authorized_keys", "slivers"]


def test_hard_links_to_the_hosts_files_cannot_be_made(sliver: Node) -> None:
    for path in ("/usr/bin/env", "/etc/passwd", "/etc/slice/ssh_key"):
        assert sliver.run("enemy", f"ln {path} ~/linked").returncode != 0


def test_a_fork_bomb_leaves_the_neighbour_alone(node: Node) -> None:
    node.make("enemy", processes=60)
    node.make("victim", processes=60)
    bomb = node.driver.enter("enemy", ["/usr/bin/perl", "-e", "while (1) { fork }"], pty=None)
    try:
        assert [node.says("victim", "echo alive") for _ in range(3)] == ["alive"] * 3
    finally:
        run_async(node.driver.stop("enemy"))
        bomb.wait()
        for name in ("stdin", "stdout", "stderr"):
            os.close(getattr(bomb, name))


_KEYRING = """
import asyncio, ctypes, os, pathlib, sys, uuid
from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.drivers.driver import SliverSpec

add = lambda: ctypes.CDLL(None).syscall(248, b"user", b"ticket-of-the-login", b"secret", 6, ctypes.c_int(-3))
ctypes.CDLL(None).syscall(250, 1, None)
if add() < 0:
    sys.exit("no keyrings here")
driver = open_driver(sys.argv[1], pathlib.Path(sys.argv[2]))
asyncio.run(driver.create(SliverSpec("enemy", uuid.uuid4(), "enemy-n1", 256, 50, "", "")))
find = "print syscall(250, 10, -3, my $a = qq(user), my $b = qq(ticket-of-the-login), 0) >= 0 ? q(found) : q(none)"
session = driver.enter("enemy", ["/usr/bin/perl", "-e", find], pty=None)
print(os.read(session.stdout, 100).decode())
asyncio.run(driver.delete("enemy"))
"""


def test_the_session_keyring_of_the_login_is_not_inherited(node: Node, tmp_path: Path) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of add_key and keyctl are known here for x86_64 only")
    if node.driver.name == "podman":
        pytest.skip("runc gives every process a session keyring of its own; this test opens drivers by name alone")
    argv = [sys.executable, "-c", _KEYRING, node.driver.name, str(tmp_path / "other")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if "no keyrings" in done.stderr:
        pytest.skip("this kernel has no keyrings")
    assert done.stdout == "none\n", done.stderr
