"""Driver calls that hang: they hold up nobody else's end, and are made once at a time."""

import asyncio
import subprocess
import threading
from collections.abc import Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from nodemgr.beside import MOST
from nodemgr.expiry import Expiry
from nodemgr.slivers.drivers.life import LocalDriver
from nodemgr.slivers.process.spawn import run_helper
from nodemgr.stops import stop_owners
from tests.unit.nodemgr.world import GRACE, SLICE_KEYS, World, refused
from tests.unit.trust.factories import USER
from trust.errors import Code, Refusal


class Hanging:
    """The world's driver, some of whose calls do not end before `let_go` is set."""

    def __init__(self, driver: Any, *calls: str) -> None:
        self.driver, self.calls = driver, calls
        self.let_go = asyncio.Event()
        self.begun: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if name not in self.calls:
            return found

        async def call(*args: Any) -> Any:
            self.begun.append(args[0])
            await self.let_go.wait()
            return await found(*args)

        return call


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def expiring(world: World) -> Any:
    """Expiry as the daemon runs it."""
    task = asyncio.create_task(Expiry(world.node, 0.01).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def many(world: World, count: int, leaselen: int) -> list[str]:
    names = [f"slice{leaselen}_{number}" for number in range(count)]
    world.node.capacity = replace(world.node.capacity, slots=100, memory_mb=100_000)
    for number, name in enumerate(names):
        await world.running(f"t-{name}", slice=name, slice_id=UUID(int=leaselen * 1000 + number), leaselen=leaselen)
    return names


async def test_a_lease_ends_in_time_while_removals_hang(world: World) -> None:
    stuck = await many(world, 2 * MOST, 10)
    later = await many(world, 5, 500)
    world.node.driver = driver = Hanging(world.driver, "delete")
    async with expiring(world):
        world.clock.forward(10 + GRACE)
        await until(lambda: len(driver.begun) == MOST)
        await until(lambda: {name for name, _ in world.closer.closed} == set(stuck))
        world.clock.forward(500)
        await until(lambda: {name for name, _ in world.closer.closed} == {*stuck, *later})
        await until(lambda: world.store.leases() == [])
        assert all(world.node.lookup(name) is None for name in (*stuck, *later))
        assert len(driver.begun) == MOST
        driver.let_go.set()
        await until(lambda: world.store.removals() == [])
    assert await world.driver.list() == {}


async def test_one_door_that_hangs_holds_up_no_other(world: World) -> None:
    names = await many(world, 4, 10)
    let_go, closed = threading.Event(), []

    class Doors:
        def logged_in(self) -> int:
            return 0

        def close_sessions(self, slice: str, *, keys: Collection[str] | None) -> None:
            if slice == names[0]:
                let_go.wait()
            closed.append(slice)

    world.node.sessions = Doors()
    try:
        async with expiring(world):
            world.clock.forward(10 + GRACE)
            await until(lambda: set(closed) == set(names[1:]))
            await until(lambda: world.store.leases() == [] and world.store.removals() == [])
    finally:
        let_go.set()


class Stuck(LocalDriver):
    """A driver of this host whose removals wait for `release`, in a thread."""

    def __init__(self, directory: Path) -> None:
        self.release = threading.Event()
        self.deletes: list[str] = []
        super().__init__(directory)

    def end_unrecorded(self, recorded: Collection[int], slice: str | None = None) -> None:
        """There are none."""

    def _delete(self, slice: str) -> None:
        self.deletes.append(slice)
        self.release.wait()


async def test_a_call_that_is_stuck_holds_one_thread_however_often_it_is_tried(tmp_path: Path) -> None:
    driver = Stuck(tmp_path)
    try:
        tries = []
        for _ in range(20):
            tries.append(asyncio.create_task(driver.delete("ocean")))
            await until(lambda: driver.deletes == ["ocean"])
            tries[-1].cancel()
        others = [asyncio.create_task(driver.delete(f"slice{number}")) for number in range(20)]
        await until(lambda: len(driver.deletes) == 21)
        # Neither the threads of everybody nor those that read are theirs.
        assert await asyncio.to_thread(lambda: "free") == "free"
        assert await driver.list() == {}
    finally:
        driver.release.set()
    await asyncio.gather(*others)
    await driver.delete("ocean")
    assert sorted(driver.deletes).count("ocean") == 2


def test_a_helper_that_hangs_is_killed_with_all_that_it_started() -> None:
    with refused(Code.TIMEOUT) as said:
        run_helper(["/bin/sh", "-c", "sleep 8642 & sleep 8642"], "the sliver stays", timeout=0.5)
    assert said.refusal.reason.startswith("the sliver stays")
    for _ in range(100):
        if subprocess.run(["pgrep", "-f", "^sleep 8642"], capture_output=True).returncode == 1:
            return
        threading.Event().wait(0.05)
    raise AssertionError("it lives")


async def test_a_stop_that_failed_is_repeated_until_it_is_done(world: World) -> None:
    names = await many(world, 2, 10_000)
    tried: list[str] = []

    class Failing(Hanging):
        async def stop(self, slice: str) -> None:
            tried.append(slice)
            if tried.count(slice) < 3:
                raise Refusal(Code.INTERNAL, "not now")

    world.node.driver = Failing(world.driver)
    async with expiring(world):
        stop_owners(world.node, frozenset([USER]))
        await until(lambda: all(tried.count(name) == 3 for name in names))
        assert world.node.lookup(names[0]) is None
        for _ in range(3):  # rounds after it was done
            await asyncio.sleep(0.05)
        assert len(tried) == 6


async def test_removals_that_hang_hold_up_no_stop(world: World) -> None:
    stuck = await many(world, 2 * MOST, 10)
    (name,) = await many(world, 1, 10_000)
    stopped: list[str] = []

    class Noting(Hanging):
        async def stop(self, slice: str) -> None:
            stopped.append(slice)

    world.node.driver = driver = Noting(world.driver, "delete")
    async with expiring(world):
        world.clock.forward(10 + GRACE)
        await until(lambda: len(driver.begun) == MOST)
        stop_owners(world.node, frozenset([USER]))
        await until(lambda: stopped == [name])
        assert len(world.store.removals()) == len(stuck)
        driver.let_go.set()
        await until(lambda: world.store.removals() == [])


async def test_a_sliver_that_was_being_made_is_stopped_too(world: World) -> None:
    lease = world.leased()
    stopped: list[str] = []

    class Slow(Hanging):
        async def stop(self, slice: str) -> None:
            stopped.append(slice)

    world.node.driver = driver = Slow(world.driver, "create")
    making = asyncio.create_task(world.node.create(world.user(), lease.slice, lease.token, *SLICE_KEYS[0]))
    async with expiring(world):
        await until(lambda: len(driver.begun) == 1)
        stop_owners(world.node, frozenset([USER]))
        assert stopped == []
        driver.let_go.set()
        assert (await making).state == "running"
        await until(lambda: stopped == [lease.slice])
    with refused(Code.NOT_ALLOWED):
        await world.node.create(world.user(), lease.slice, lease.token, *SLICE_KEYS[0])


async def test_who_is_stopped_no_more_runs_again(world: World) -> None:
    (name,) = await many(world, 1, 10_000)
    calls: list[str] = []

    class Noting(Hanging):
        async def stop(self, slice: str) -> None:
            calls.append("stop")

        async def start(self, slice: str) -> None:
            calls.append("start")

    world.node.driver = Noting(world.driver)
    async with expiring(world):
        stop_owners(world.node, frozenset([USER]))
        await until(lambda: calls == ["stop"])
        await world.node.beside.finished()
        stop_owners(world.node, frozenset())
        await until(lambda: calls == ["stop", "start"])
        await until(lambda: world.node.halted == {})
    assert world.node.lookup(name) is not None


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), RuntimeError("what")])
async def test_one_leases_trouble_never_stops_the_next_ones_end(world: World, trouble: Exception) -> None:
    names = await many(world, 3, 10)
    forget = world.store.forget

    def failing(lease: Any, now: Any) -> None:
        if lease.slice == names[0]:
            raise trouble
        forget(lease, now)

    world.store.forget = failing  # type: ignore[method-assign]
    world.clock.forward(10 + GRACE)
    await Expiry(world.node).tick()
    assert [lease.slice for lease in world.store.leases()] == names[:1]
    assert {name for name, _ in world.closer.closed} == set(names)
