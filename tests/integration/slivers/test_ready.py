"""Prepared slivers: one that is claimed is like one that is made anew, has nothing of a former one, and never comes
back. One suite for every driver."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nodemgr.slivers.drivers import pool
from nodemgr.slivers.drivers.driver import Likeness, SliverSpec
from nodemgr.slivers.drivers.pool import Pool, Prepared
from nodemgr.slivers.inside import etc
from tests.integration.slivers.conftest import Node, run_async
from tests.integration.slivers.test_enemy import keeper
from tests.integration.slivers.test_life import eventually
from trust.errors import Refusal

LIKE = Likeness("node_1", 512, 100)
DEEP = bool(os.environ.get("DSLICE_DEEP"))
CLAIMS = 10_000 if DEEP else 12

# What somebody inside can see that the node manager made.
LOOK = r"""
whoami; hostname; id; pwd; env | sort; ulimit -a; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status
stat -c '%N %F %a %U %u' / /* /home/* /home/.[a-z]* /root/ /dev/* /var/* /run ~ 2>&1
tr '\0' ' ' </proc/1/cmdline; ps -eo pid=,args= | head -1
cut -d' ' -f5,6 /proc/self/mountinfo | sort
for file in $(find -L /etc -maxdepth 2 -type f ! -path '*/ssl/*' ! -path '*/alternatives/*' ! -name 'ssh_key*' \
    ! -name machine-id | sort)
do stat -c '%n %a %u' $file; cat $file | cksum; done
unshare -U true || echo closed; mount -t tmpfs x /tmp || echo closed
echo x >/x || echo closed; mkdir /home/x || echo closed
"""


def spec(node: Node, slice: str, like: Likeness = LIKE) -> SliverSpec:
    made = node.spec(slice, like.memory_mb, like.processes)
    node.made.append(slice)
    return SliverSpec(
        slice, made.slice_id, like.hostname, like.memory_mb, like.processes, made.private_key, made.public_key
    )


def its_pool(node: Node) -> Pool:
    found = node.driver._pool  # type: ignore[attr-defined]
    assert isinstance(found, Pool)
    return found


def prepared(node: Node) -> list[Prepared]:
    return its_pool(node)._ready


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def keeping(node: Node, number: int = 2, room: Callable[[], bool] = lambda: True) -> AsyncIterator[None]:
    """A driver that has so many prepared, and none at the end."""
    task = asyncio.create_task(node.driver.keep_ready(number, LIKE, room))
    try:
        await until(lambda: len(prepared(node)) == (number if room() else 0) or task.done())
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def claimed(node: Node, wanted: SliverSpec) -> Prepared:
    """Make a sliver; the prepared one that it was."""
    await until(lambda: bool(prepared(node)))
    before = list(prepared(node))
    await node.driver.create(wanted)
    (taken,) = [each for each in before if each not in prepared(node)]
    return taken


def leftovers(node: Node) -> list[str]:
    return [path.name for path in node.folder.iterdir() if path.name.startswith((".nameless", ".removed"))]


async def test_one_that_is_claimed_looks_like_one_that_is_made_anew(node: Node) -> None:
    wanted = spec(node, "ocean_1")
    await node.driver.create(wanted)
    anew, other = node.run("ocean_1", LOOK).stdout, node.says("ocean_1", "cat /etc/machine-id")
    await node.driver.delete("ocean_1")
    async with keeping(node):
        await claimed(node, wanted)
        assert node.run("ocean_1", LOOK).stdout == anew
        assert node.says("ocean_1", "cat /etc/machine-id") != other
        assert node.says("ocean_1", "ssh-keygen -y -f /etc/slice/ssh_key").split()[1] == wanted.public_key.split()[1]
    assert anew.count("closed") == 4
    assert "/home/ocean_1" in anew
    assert await node.driver.list() == {"ocean_1": wanted.slice_id}


async def test_its_first_process_is_known_by_its_slices_name(node: Node) -> None:
    async with keeping(node):
        await claimed(node, spec(node, "ocean"))
    first = keeper(node, "ocean")
    assert first.alive
    (node.folder / "ocean/keeper.json").write_bytes(b"{")
    await node.driver.stop("ocean")
    assert not first.alive


async def test_one_that_is_claimed_is_found_again_stopped_and_started(node: Node) -> None:
    async with keeping(node):
        await claimed(node, spec(node, "ocean"))
    node.says("ocean", "echo kept > ~/file")
    first, node.driver = keeper(node, "ocean"), node.open()
    assert first.alive
    assert node.says("ocean", "cat ~/file") == "kept"
    await node.driver.stop("ocean")
    await node.driver.start("ocean")
    assert node.says("ocean", "cat ~/file; pwd") == "kept\n/home/ocean"


LEAVE = """
for at in ~ /tmp /run /dev/shm; do echo {name} > $at/{name}; done; ln ~/{name} ~/hard; touch ~/.ssh_{name}
exec 9<>/dev/shm/{name}; setsid sleep 503 >/dev/null 2>&1 </dev/null & ipcmk -M 64 -S 2 -Q >/dev/null
"""
SEEK = """
ls -A ~ /tmp /run /dev/shm /var/tmp; ipcs | grep 0x; ps -eo args= | grep -v -e sleep.infinity -e ps.-eo -e grep -e bash
grep -rl {name} /etc /proc/[0-9]*/environ /proc/self/mountinfo /proc/keys 2>/dev/null
cat /etc/slice/ssh_key.pub; pgrep -c sleep
"""


@pytest.mark.timeout(7200 if DEEP else 180)
async def test_nothing_of_a_former_owner_is_there(node: Node) -> None:
    """Files, links, memory, shared memory, processes, keys, names; inodes: each of a former sliver's is held open, so
    that the host gives its number to no other file."""
    held: dict[tuple[int, int], int] = {}
    async with keeping(node):
        for number in range(CLAIMS):
            slice, former = f"own{number}er", f"own{number - 1}er"
            wanted = spec(node, slice)
            taken = await claimed(node, wanted)
            assert not held.keys() & inodes(taken.folder.path).keys()
            seen = await asyncio.to_thread(node.says, slice, SEEK.format(name=former) + "true")
            assert seen.splitlines()[-2:] == [wanted.public_key.strip(), "1"]
            assert [line for line in seen.splitlines()[:-2] if line not in (".ssh", "lock", "screen")] == [
                "/dev/shm:",
                "",
                f"/home/{slice}:",
                "",
                "/run:",
                "",
                "/tmp:",
                "",
                "/var/tmp:",
            ]
            await asyncio.to_thread(node.says, slice, LEAVE.format(name=slice))
            close(held)
            held = inodes(taken.folder.path, keep=True)
            assert len(held) > 20
            await node.driver.delete(slice)
            node.made.remove(slice)
            assert not taken.first.process.alive
    close(held)
    assert leftovers(node) == []
    assert [path.name for path in node.folder.iterdir()] == [".ssh"]


def inodes(folder: Path, *, keep: bool = False) -> dict[tuple[int, int], int]:
    """All below a folder, those that `keep` with a descriptor each."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        key = (status.st_dev, status.st_ino)
        if key not in found:
            found[key] = os.open(path, os.O_PATH | os.O_NOFOLLOW) if keep else -1
    return found


def close(held: dict[tuple[int, int], int]) -> None:
    for descriptor in held.values():
        os.close(descriptor)


async def test_one_that_is_claimed_has_the_limits_and_the_user_of_its_own(node: Node) -> None:
    async with keeping(node):
        uids = {(await claimed(node, spec(node, slice))).host_uid for slice in ("lake", "ocean", "sea")}
    assert node.says("lake", "ulimit -u; head -1 /proc/meminfo").split() == ["100", "MemTotal:", str(512 << 10), "kB"]
    assert len(uids) == (1 if node.shares_host_users else 3)


async def test_another_host_name_or_limit_is_made_anew(node: Node) -> None:
    async with keeping(node):
        ready = list(prepared(node))
        for number, like in enumerate((Likeness("node_2", 512, 100), Likeness("node_1", 256, 100))):
            await node.driver.create(spec(node, f"s{number}", like))
        assert prepared(node) == ready
    assert node.says("s0", "hostname") == "node-2"
    assert node.says("s1", "head -1 /proc/meminfo").split() == ["MemTotal:", str(256 << 10), "kB"]


async def test_the_end_of_the_node_manager_ends_them(node: Node) -> None:
    async with keeping(node, 3):
        ready = list(prepared(node))
        assert len(leftovers(node)) == 3
    assert leftovers(node) == []
    assert not any(each.first.process.alive for each in ready)


PREPARES = """
import asyncio, sys
from pathlib import Path
from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.drivers.driver import Likeness

async def main():
    driver = open_driver(sys.argv[1], Path(sys.argv[2]))
    task = asyncio.create_task(driver.keep_ready(2, Likeness("node_1", 512, 100), lambda: True))
    while len(driver._pool._ready) < 2:
        await asyncio.sleep(0.02)
    print(*(each.first.process.pid for each in driver._pool._ready), flush=True)
    await task

asyncio.run(main())
"""


def test_a_node_manager_that_is_killed_leaves_none(node: Node) -> None:
    if node.driver.name == "podman":
        pytest.skip("a container stays until the next start, which `test_what_was_prepared_before_is_removed` is about")
    script = [sys.executable, "-c", PREPARES, node.driver.name, str(node.folder)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, cwd=Path(pool.__file__).parents[3]) as killed:
        assert killed.stdout is not None
        pids = [int(word) for word in killed.stdout.readline().split()]
        assert len(pids) == 2
        killed.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}/root/usr").exists() for pid in pids))
    assert len(leftovers(node)) == 2
    node.driver = node.open()
    assert leftovers(node) == []


async def test_what_was_prepared_before_is_removed_at_the_next_start(node: Node) -> None:
    """As after a crash in the middle of a claim: the first process is named, the folder is not."""
    async with keeping(node):
        ready = list(prepared(node))
        node.open()
        assert leftovers(node) == []
        assert not any(each.first.process.alive for each in ready)
    await node.driver.create(spec(node, "ocean"))
    assert node.says("ocean", "whoami") == "ocean"


async def test_without_room_there_are_none(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.05)
    room = True
    async with keeping(node, room=lambda: room):
        room = False
        await until(lambda: leftovers(node) == [])
        await node.driver.create(spec(node, "ocean"))
        assert node.says("ocean", "whoami") == "ocean"
        room = True
        await until(lambda: len(prepared(node)) == 2)
        monkeypatch.setattr(pool, "_memory_mb", lambda: 2 * LIKE.memory_mb - 1)
        await until(lambda: leftovers(node) == [])


async def test_one_that_died_is_not_claimed_and_another_takes_its_place(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.05)
    async with keeping(node):
        dead = list(prepared(node))
        for each in dead:
            os.kill(each.first.process.pid, signal.SIGKILL)
        await node.driver.create(spec(node, "ocean"))
        assert node.says("ocean", "whoami") == "ocean"
        await until(lambda: len(prepared(node)) == 2 and not set(dead) & set(prepared(node)))


@pytest.mark.parametrize("trouble", ["disk", "folder", "process"])
async def test_a_claim_that_fails_costs_time_only(node: Node, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with keeping(node, 1):
        (ready,) = prepared(node)
        with monkeypatch.context() as patch:
            if trouble == "disk":
                patch.setattr(etc, "write_slice_key", full)
            elif trouble == "folder":
                shutil.rmtree(ready.folder.etc)
            else:
                patch.setattr(type(node.driver), "name_first", lambda *_: os.kill(ready.first.process.pid, 9))
                patch.setattr(type(ready.first), "settle", refused)
            its_pool(node)._driver = node.driver  # type: ignore[assignment]
            with suppress(OSError):
                await node.driver.create(spec(node, "ocean"))
        await node.driver.create(spec(node, "ocean"))
        assert node.says("ocean", "whoami; pwd") == "ocean\n/home/ocean"
        assert not ready.first.process.alive
        await until(lambda: len(leftovers(node)) == 1)
    assert leftovers(node) == []


def refused(_: Any) -> None:
    raise Refusal("internal", "the sliver's first process did not start")  # type: ignore[arg-type]


async def test_preparing_that_fails_leaves_nothing_and_is_tried_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RETRY_SECONDS", 0.05)
    tried = 0

    def full(*_: Any) -> None:
        nonlocal tried
        tried += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    task = asyncio.create_task(node.driver.keep_ready(1, LIKE, lambda: True))
    with monkeypatch.context() as patch:
        patch.setattr(etc, "write_first_process", full)
        await until(lambda: tried > 2)
        assert not task.done()
    await until(lambda: len(prepared(node)) == 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert leftovers(node) == []
    assert node.driver._given == set()  # type: ignore[attr-defined]


async def test_many_at_once_are_all_made(node: Node) -> None:
    async with keeping(node):
        names = [f"s{number}" for number in range(10, 18)]
        await asyncio.gather(*(node.driver.create(spec(node, name)) for name in names))
        assert [await asyncio.to_thread(node.says, name, "whoami; pwd") for name in names] == [
            f"{name}\n/home/{name}" for name in names
        ]
        assert (await node.driver.list()).keys() == set(names)


def test_nothing_is_prepared_unless_asked_for(node: Node) -> None:
    run_async(node.driver.create(spec(node, "ocean")))
    assert leftovers(node) == []
