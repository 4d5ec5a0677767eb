"""The order of locks (lifecycle/record.py): who waits for one row holds none that comes after it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.deletion import outlive
from lifecycle.inventory import answered
from lifecycle.outcome import claim
from lifecycle.retention import purge
from lifecycle.steps import StepRef
from models.states import Kind, Verb
from tests.integration.lifecycle.world import OWNER, World

FIRST = "SELECT 1 FROM svm.sliver WHERE node = '127.0.1.1' FOR UPDATE NOWAIT"
SECOND = "SELECT 1 FROM svm.sliver WHERE node = '127.0.1.2' FOR UPDATE NOWAIT"
SLICE = "SELECT 1 FROM svm.slice FOR UPDATE NOWAIT"
BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))"


def waits_with_nothing(world: World, act: Callable[[Connection], object], held: str, later: str) -> None:
    """While another holds the rows `held`, `act` waits for them and leaves the rows `later` alone."""

    def run() -> None:
        with world.database.begin() as connection:
            for plan in ("indexscan", "bitmapscan"):  # an order that only a plan gives is none
                connection.execute(text(f"SET LOCAL enable_{plan} = off"))
            act(connection)

    with ThreadPoolExecutor(1) as pool:
        with world.database.begin() as other:
            other.execute(text(held))
            pid, end = other.scalar(text("SELECT pg_backend_pid()")), time.monotonic() + 60
            done = pool.submit(run)
            while not world.rows(BLOCKED, pid=pid):
                assert not done.done(), "it does not take that lock at all"
                assert time.monotonic() < end
                time.sleep(0.01)
            other.execute(text(later))
        done.result()


def made(world: World) -> UUID:
    """A slice whose first sliver is the last in the table, so that only asking for an order gives it."""
    world.run(Verb.CREATESLICE)
    world.execute("UPDATE svm.sliver SET attempts = 1 WHERE node = '127.0.1.1'")
    return UUID(str(world.rows("SELECT id FROM svm.slice")[0].id))


def test_purging_takes_slivers_in_their_order(world: World) -> None:
    made(world)
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 hour' WHERE node <> '127.0.1.1'")
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 hour' WHERE node = '127.0.1.1'")
    waits_with_nothing(world, lambda connection: purge(connection, OWNER), FIRST, SECOND)
    assert world.rows("SELECT state FROM svm.slice") == [("deleted",)]


def test_a_claim_takes_slivers_in_their_order(world: World) -> None:
    world.run(Verb.NEWTICKETS)
    world.execute("UPDATE svm.sliver SET attempts = 1 WHERE node = '127.0.1.1'")
    refs: list[StepRef] = world.start(Verb.NEWLEASES).publish
    ids = [ref.id for ref in refs]
    waits_with_nothing(world, lambda connection: claim(connection, ids, seconds=9), FIRST, SECOND)


def deleting(world: World) -> UUID:
    slice_row = made(world)
    world.start(Verb.DELETESLICE)
    return slice_row


def test_what_is_outlived_is_locked_after_its_slice(world: World) -> None:
    deleting(world)
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 hour'")
    waits_with_nothing(world, lambda connection: outlive(connection, 1), SLICE, FIRST)
    assert world.rows("SELECT state FROM svm.slice") == [("deleted",)]


def test_what_a_node_says_to_be_gone_is_locked_after_its_slice(world: World) -> None:
    gone = [deleting(world)]
    waits_with_nothing(world, lambda connection: answered(connection, "127.0.1.1", gone, [], []), SLICE, FIRST)
    assert world.states()["127.0.1.1"] == "deleted"


def test_a_record_locks_the_slice_before_its_slivers(world: World) -> None:
    started = world.start(Verb.CREATESLICE)
    (ask,) = world.claim(started.publish)
    _, refs = world.record((ask, world.answer(ask)))
    leases = world.claim(refs)
    _, refs = world.record(*((found, world.answer(found)) for found in leases))
    (vm,) = [found for found in world.claim(refs) if found.node == "127.0.1.1"]
    assert vm.kind is Kind.NEWVMS
    waits_with_nothing(world, lambda _: world.record((vm, world.answer(vm))), SLICE, FIRST)
