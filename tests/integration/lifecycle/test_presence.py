"""Claims end with their worker's session; who lives, is stopped or is not known keeps its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text

from lifecycle.operations import SliceSpec, Started
from lifecycle.presence import FREE, absent, backing_off, enter, leave, release_claims
from lifecycle.recovery import republish
from models.database import IDLE, engine
from models.states import Verb
from tests.integration.lifecycle.test_looks import statements
from tests.integration.lifecycle.world import World, transient

HOURS = 36000
PID = "SELECT pg_backend_pid() AS pid"


@contextmanager
def session(world: World) -> Iterator[Connection]:
    """One of its own, which ends with the `with`."""
    opened = world.database.connect().execution_options(isolation_level="AUTOCOMMIT")
    opened.detach()
    with opened:
        yield opened


def asked(world: World, name: str = "demo") -> Started:
    return world.start(Verb.CREATESLICE, name, spec=SliceSpec(1, 3600))


def missing(world: World) -> list[int]:
    with world.database.connect() as connection:
        return absent(connection)


def released(world: World, *workers: int) -> tuple[list[int], int]:
    with world.database.begin() as connection:
        return release_claims(connection, workers)


def ended(world: World, worker: int) -> None:
    """Its backend may take a moment to end after the connection was closed."""
    while worker not in missing(world):
        pass


def test_claims_of_a_worker_whose_session_has_ended(world: World) -> None:
    """They are free at once, and are published again, once; those of another are not."""
    lost, kept, old = (asked(world, name).publish for name in ("lost", "kept", "old"))
    with session(world) as alive:
        living = enter(alive)
        with session(world) as dying:
            dead = enter(dying)
            assert dead != living
            world.claim(lost, seconds=HOURS, worker=dead)
            world.claim(kept, seconds=HOURS, worker=living)
            world.claim(old, seconds=HOURS)
            assert missing(world) == []
        ended(world, dead)
        assert missing(world) == [dead]
        assert released(world, dead) == ([dead], 1)
        assert released(world, dead) == ([], 0)
        assert missing(world) == []
        with world.database.begin() as connection:
            assert republish(connection, HOURS) == (lost, 1)
        assert world.claim([*lost, *kept, *old], worker=living)[0].id == lost[0].id


def test_what_a_worker_taken_for_dead_has_done_counts_until_another_takes_it(world: World) -> None:
    with session(world) as first:
        worker = enter(first)
        (claim,) = world.claim(asked(world).publish, seconds=HOURS, worker=worker)
    ended(world, worker)
    released(world, worker)
    assert world.record((claim, world.answer(claim)))[0] == [True]


def test_a_worker_comes_back_beside_its_old_session(world: World) -> None:
    with session(world) as old, session(world) as new:
        worker = enter(old)
        assert enter(new, worker) == worker
        old.close()
        assert missing(world) == []
    ended(world, worker)


def test_a_worker_that_was_taken_for_dead_is_written_down_again(world: World) -> None:
    with session(world) as first:
        worker = enter(first)
    ended(world, worker)
    released(world, worker)
    with session(world) as second:
        assert enter(second, worker) == worker
    ended(world, worker)


def test_a_worker_that_left_is_not_missed(world: World) -> None:
    with session(world) as here:
        leave(here, enter(here))
    assert world.rows("SELECT 1 FROM svm.worker") == []


def test_steps_that_back_off_wait_for_somebody_to_wake_them(world: World) -> None:
    started = asked(world)
    (claim,) = world.claim(started.publish)
    world.record((claim, transient(50)))
    with world.database.connect() as connection:
        ((operation, seconds),) = backing_off(connection, 9)
    assert operation == started.operation
    assert 0 < seconds <= 50


@pytest.mark.parametrize("running", [0, 8])
def test_a_look_reads_workers_and_no_step_and_freeing_reads_running_ones(world: World, running: int) -> None:
    """However many steps have ended."""
    operation = asked(world).operation
    fill = """INSERT INTO svm.step (operation, node, kind, state, ended_at, claim_token, claim_until, claim_worker)
              SELECT :o, n, 'newleases', 'done', now(), NULL, NULL, 1 FROM generate_series(1, 20000) AS n"""
    world.execute(fill, o=operation)
    world.execute(
        """UPDATE svm.step SET state = 'running', ended_at = NULL, claim_token = gen_random_uuid(), claim_until = now()
           WHERE node IN (SELECT n::text FROM generate_series(1, :n) AS n)""",
        n=running,
    )
    world.execute("ANALYZE svm.step")
    with statements(world) as sent:
        missing(world)
    assert not [statement for statement in sent if "svm.step" in statement]
    with world.database.connect() as connection:
        plan = connection.execute(text(f"EXPLAIN {FREE.text}"), {"workers": [1, 2]}).scalars().all()
    assert "ix_step_running" in "\n".join(plan)
    assert "Seq Scan" not in "\n".join(plan)


def test_idle_sessions_are_ended_and_made_anew_but_not_a_workers(
    world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IDLE, "idle_session_timeout", "100ms")
    impatient = World(engine(database_url))
    with session(impatient) as mine:
        worker = enter(mine)
        (before,) = impatient.rows(PID)
        while world.rows("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=before.pid):
            pass
        assert impatient.rows(PID) != [before]
        assert worker not in missing(world)
    impatient.database.dispose()
