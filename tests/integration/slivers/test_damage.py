"""What a crash or a user can spoil of one sliver costs that sliver alone, and is mended. One suite for every driver."""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.driver import Pty
from nodemgr.slivers.process.processes import Process
from tests.integration.slivers.conftest import Node, run_async
from tests.integration.slivers.test_enemy import keeper
from tests.integration.slivers.test_life import eventually
from trust.errors import Code, Refusal

RECORDS = ("sliver.json", "keeper.json")
DAMAGE = [b"", b"{", b'{"slice": "oce', b"[]", b"null", b'{"pid": 1}', b"\xff\xfe"]


def there(node: Node) -> set[str]:
    return set(run_async(node.driver.list()))


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_cannot_be_read_costs_its_own_sliver_alone(node: Node, name: str, damage: bytes) -> None:
    spec, first = node.make("ocean"), None
    node.make("lake")
    node.says("ocean", "echo kept > ~/file")
    first, other = keeper(node, "ocean"), keeper(node, "lake")
    (node.folder / "ocean" / name).write_bytes(damage)
    node.driver = node.open()
    assert there(node) == {"ocean", "lake"}
    assert other.alive
    assert node.says("lake", "echo alive") == "alive"
    assert not first.alive  # nobody could have told whose it is, or entered it
    run_async(node.driver.create(spec))
    assert (
        node.says("ocean", "cat ~/file; stat -c %u:%a ~/file /etc/slice/ssh_key")
        == f"kept\n{node.uid}:644\n{node.uid}:400"
    )
    assert run_async(node.driver.list())["ocean"] == spec.slice_id


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_spoilt_while_it_runs_is_said_and_mended(node: Node, name: str) -> None:
    spec = node.make("ocean")
    node.says("ocean", "echo kept > ~/file")
    first = keeper(node, "ocean")
    assert run_async(node.driver.ended(["ocean"])) == []
    (node.folder / "ocean" / name).write_bytes(b"")
    with pytest.raises(Refusal, match="svm newvms ocean") as refused:
        node.driver.enter("ocean", ["true"], pty=None)
    assert refused.value.code is Code.INTERNAL
    assert run_async(node.driver.ended(["ocean"])) == ["ocean"]
    run_async(node.driver.stop("ocean"))
    assert not first.alive
    run_async(node.driver.create(spec))
    assert node.says("ocean", "cat ~/file") == "kept"


@pytest.mark.parametrize("name", RECORDS)
def test_a_sliver_whose_record_is_spoilt_is_removed_whole(node: Node, name: str) -> None:
    node.make("ocean")
    first = keeper(node, "ocean")
    (node.folder / "ocean" / name).write_bytes(b"")
    run_async(node.driver.delete("ocean"))
    assert not first.alive
    assert there(node) == set()
    assert [path.name for path in node.folder.iterdir() if not path.name.startswith(".s")] == []


def test_a_sliver_whose_folder_is_gone_is_ended(node: Node) -> None:
    node.make("ocean")
    first = keeper(node, "ocean")
    shutil.rmtree(node.folder / "ocean", ignore_errors=True)
    assert run_async(node.driver.ended(["ocean"])) == ["ocean"]
    run_async(node.driver.stop("ocean"))
    assert not first.alive


def test_a_host_user_is_not_given_twice(node: Node) -> None:
    node.make("ocean")
    if node.shares_host_users:
        pytest.skip("this node has one host user for all its slivers")
    (node.folder / "ocean/sliver.json").write_bytes(b"")
    node.make("lake")
    owners = {(node.folder / slice / "home").stat().st_uid for slice in ("ocean", "lake")}
    assert len(owners) == 2


def test_a_sliver_whose_first_process_died_is_named_and_runs_again(node: Node) -> None:
    spec = node.make("ocean")
    node.make("lake")
    node.says("ocean", "echo kept > ~/file")
    os.kill(keeper(node, "ocean").pid, signal.SIGKILL)
    eventually(lambda: run_async(node.driver.ended(["ocean", "lake"])) == ["ocean"])
    run_async(node.driver.stop("ocean"))
    assert run_async(node.driver.ended(["ocean"])) == []  # stopped on purpose
    run_async(node.driver.create(spec))
    assert node.says("ocean", "cat ~/file") == "kept"
    assert run_async(node.driver.ended(["ocean"])) == []


TRACE = """
use strict; use warnings;
my $attached = syscall(101, 16, 1, 0, 0) == 0;
if ($attached) { waitpid(1, 0x40000000); syscall(101, 0x4200, 1, 0, 0x100000); }
print $attached ? "attached" : "refused";
"""


def test_the_first_process_cannot_be_traced_and_so_ended_from_inside(node: Node) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the number of ptrace is known here for x86_64 only")
    node.make("ocean")
    assert node.says("ocean", f"perl -e '{TRACE}'") == "refused"
    assert node.run("ocean", "echo x > /proc/1/mem || cat /proc/1/environ").stdout == ""
    assert keeper(node, "ocean").alive
    assert node.says("ocean", "echo alive") == "alive"


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """So many more descriptors may be opened, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    holders = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]  # so that the numbers below the limit are in use
    lowest_free = os.dup(0)
    os.close(lowest_free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + number, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for holder in holders:
            os.close(holder)


def opened() -> int:
    gc.collect()  # what failed refers to itself in some libraries, and to its connection
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("pty", [None, Pty("xterm", 80, 24)])
def test_entering_leaks_no_descriptor_when_they_run_out(node: Node, pty: Pty | None) -> None:
    node.make("ocean")
    before = opened()
    for left in range(12):
        with descriptors_left(left):
            try:
                session = node.driver.enter("ocean", ["true"], pty=pty)
            except (OSError, Refusal):
                continue
        assert session.wait() == 0
        for descriptor in {session.stdin, session.stdout, session.stderr or session.stdout, session.ended}:
            os.close(descriptor)
    assert opened() == before
    assert node.says("ocean", "echo alive") == "alive"


def test_starting_leaks_no_descriptor_and_no_process_when_they_run_out(node: Node) -> None:
    spec = node.make("ocean")
    node.says("ocean", "echo kept > ~/file")
    run_async(node.driver.stop("ocean"))
    before, failed = opened(), 0
    for left in range(0, 14, 6 if node.driver.name == "podman" else 1):  # each of podman's takes seconds
        with descriptors_left(left):
            try:
                node.driver._start("ocean")  # type: ignore[attr-defined]
            except (OSError, Refusal):
                failed += 1
        run_async(node.driver.stop("ocean"))
        assert opened() <= before
    assert failed
    run_async(node.driver.create(spec))
    assert node.says("ocean", "cat ~/file") == "kept"
    recorded = Process(**json.loads(Path(node.folder / "ocean/keeper.json").read_text()))
    assert recorded == keeper(node, "ocean")
