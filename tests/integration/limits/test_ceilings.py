"""Memory, processes and processors of a whole sliver: what it takes is bounded, and what it reserves is its own affair.

Each test runs with control groups, where this machine has them, and without.
"""

from __future__ import annotations

import shutil
import signal

import pytest

from nodemgr.slivers.drivers.driver import News, Session
from nodemgr.slivers.drivers.keeper import KeeperDriver
from tests.integration.slivers.conftest import Node, run_async

# Reserves 8 GiB of address space, as runtimes do, and uses 10 MiB of it.
RESERVE = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
place = libc.mmap(None, ctypes.c_size_t(8 << 30), 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0)
assert place != ctypes.c_void_p(-1).value, ctypes.get_errno()
assert libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(1 << 30), 3) == 0
ctypes.memset(place, 1, 10 << 20)
print("reserved")
"""

# Fills memory that no process has mapped.
MEMFD = """
import os
file = os.memfd_create("bomb")
for _ in range(200):
    os.write(file, bytes(1 << 20))
    print("more", flush=True)
    os.read(0, 1)
"""

FORKS = (
    "$| = 1; for (1..400) { my $p = fork; if (!defined $p) { print qq(full\\n); last } if (!$p) { sleep 60 } } sleep 60"
)


@pytest.fixture(params=("groups", "no groups"))
def driver(request: pytest.FixtureRequest, node: Node) -> KeeperDriver:
    assert isinstance(node.driver, KeeperDriver)
    if request.param == "no groups":
        node.driver._cgroups = None
    elif node.driver._cgroups is None:
        pytest.skip("no control group can be written here")
    return node.driver


def left(session: Session) -> int:
    for descriptor in {session.stdin, session.stdout, session.stderr} - {None}:
        with open(descriptor, "rb") as stream:  # type: ignore[arg-type]
            stream.close()
    with open(session.ended, "rb", buffering=0):
        return session.wait()


def grouped(driver: KeeperDriver) -> bool:
    return driver._cgroups is not None


def test_address_space_is_nobody_s_concern(node: Node, driver: KeeperDriver) -> None:
    node.make("ocean", memory_mb=64)
    assert node.says("ocean", f"python3 -c '{RESERVE}'") == "reserved"


@pytest.mark.parametrize("command", ["java -version", "node -e 'console.log(1)'", "go version"])
def test_runtimes_start(node: Node, driver: KeeperDriver, command: str) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {command.split(maxsplit=1)[0]} here")
    node.make("ocean", memory_mb=256)
    node.says("ocean", command)


def test_memory_in_files_that_nobody_mapped_counts(node: Node, driver: KeeperDriver) -> None:
    node.make("ocean", memory_mb=64)
    node.make("other", memory_mb=64)
    bomb = node.driver.enter("ocean", ["/usr/bin/python3", "-c", MEMFD], pty=None)
    with open(bomb.stdin, "wb", buffering=0, closefd=False) as go, open(bomb.stdout, "rb", closefd=False) as said:
        rounds = 0
        while said.readline():
            rounds += 1
            run_async(driver.bound_memory())
            try:
                go.write(b"x")
            except BrokenPipeError:
                break
    assert left(bomb) == 128 + signal.SIGKILL
    assert 32 < rounds < 90
    assert run_async(driver.news()) == [News("ocean", "one of its processes was ended: its memory was full")]
    assert run_async(driver.news()) == []
    assert node.says("other", "head -c 20M /dev/zero | wc -c") == str(20 << 20)
    assert node.says("ocean", "echo still") == "still"


def test_the_largest_process_goes_and_what_is_shared_counts_once(node: Node, driver: KeeperDriver) -> None:
    """Five processes share 40 MiB of a ceiling of 100; then one takes 80 for itself."""
    node.make("ocean", memory_mb=100)
    forks = (
        "import os, time; x = bytearray(40 << 20); [os.fork() or time.sleep(60) for _ in range(4)];"
        " print('forked', flush=True); time.sleep(60)"
    )
    crowd = node.driver.enter("ocean", ["/usr/bin/python3", "-c", forks], pty=None)
    with open(crowd.stdout, "rb", closefd=False) as said:
        assert said.readline() == b"forked\n"
    run_async(driver.bound_memory())
    assert node.says("ocean", "pgrep -c python3") == "5"
    hog = "import sys; x = bytearray(80 << 20); print(1, flush=True); sys.stdin.read()"
    large = node.driver.enter("ocean", ["/usr/bin/python3", "-c", hog], pty=None)
    with open(large.stdout, "rb", closefd=False) as said:
        said.readline()
    run_async(driver.bound_memory())
    assert left(large) == 128 + signal.SIGKILL
    crowd.kill()
    left(crowd)


def test_a_fork_bomb_ends_at_its_ceiling(node: Node, driver: KeeperDriver) -> None:
    node.make("ocean", processes=50)
    node.make("other", processes=50)
    bomb = node.driver.enter("ocean", ["/usr/bin/perl", "-e", FORKS], pty=None)
    with open(bomb.stdout, "rb", closefd=False) as said:
        assert said.readline() == b"full\n"
    assert node.says("other", "for i in 1 2 3 4 5; do (:) & done; wait; echo fine") == "fine"
    assert node.says("ocean", "kill -9 -1; echo room") == "room"
    left(bomb)


def test_who_weighs_more_gets_more(node: Node, driver: KeeperDriver) -> None:
    node.make("ocean")
    (keeper,) = driver._recorded().values()
    if driver._cgroups is None:
        assert node.says("ocean", "nice; cat /proc/self/oom_score_adj") == "10\n500"
        return
    name = driver._cgroups.name(keeper.pid)
    assert name == "ocean"
    shown = driver._cgroups.shown(name)
    if driver._cgroups.version == 2:
        assert (shown[""] / "cpu.weight").read_text() == "100\n"
    elif "cpu" in shown:
        assert (shown["cpu"] / "cpu.shares").read_text() == "1024\n"
    assert node.says("ocean", "nice") == "0"


def test_what_is_the_sliver_s_share_is_told_inside(node: Node, driver: KeeperDriver) -> None:
    node.make("ocean", memory_mb=64)
    assert node.says("ocean", "grep MemTotal /proc/meminfo") == f"MemTotal:       {64 << 10:8} kB"
    assert "64" in node.says("ocean", "free -m") if shutil.which("free") else True
    if driver._cgroups is None:
        return
    file = "memory.max" if driver._cgroups.version == 2 else "memory/memory.limit_in_bytes"
    assert node.says("ocean", f"cat /sys/fs/cgroup/{file}") == str(64 << 20)
    assert {line.split(":", 2)[2] for line in node.says("ocean", "cat /proc/self/cgroup").splitlines()} >= {"/"}
    assert node.run("ocean", f"echo 1 > /sys/fs/cgroup/{file}").returncode != 0
    assert node.run("ocean", "echo 1 > /proc/meminfo").returncode != 0


def test_a_session_and_what_it_leaves_are_in_the_group_which_goes_with_the_sliver(node: Node) -> None:
    driver = node.driver
    assert isinstance(driver, KeeperDriver)
    if driver._cgroups is None:
        pytest.skip("no control group can be written here")
    node.make("ocean")
    node.says("ocean", "setsid sleep 500 > /dev/null 2>&1 < /dev/null &")
    folders = driver._cgroups.folders("ocean")
    inside = driver._inside("ocean")
    assert len(inside) == 2
    for folder in folders:
        assert set(inside) <= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
    run_async(driver.delete("ocean"))
    assert not any(folder.exists() for folder in folders)


def test_no_group_stays_of_a_sliver_whose_first_process_died(node: Node) -> None:
    driver = node.driver
    assert isinstance(driver, KeeperDriver)
    if driver._cgroups is None:
        pytest.skip("no control group can be written here")
    node.make("ocean")
    folders = driver._cgroups.folders("ocean")
    driver._recorded()["ocean"].kill()
    assert all(folder.exists() for folder in folders)
    run_async(driver.delete("ocean"))
    assert not any(folder.exists() for folder in folders)
