"""A killed worker's steps go on in another, though its claims would last for hours and nothing sweeps."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from lifecycle.presence import absent, enter
from models.states import Outcome
from rpc.credentials import Credentials
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import CONT, KILL, STOP, Crew, Daemon
from workers import presence
from workers.presence import MISSED, SETTLING, Presence

HOURS = {
    "DSLICE_STEP_SECONDS": "45",
    "DSLICE_CLAIM_SLACK_SECONDS": "36000",
    "DSLICE_PUBLISH_AGAIN_SECONDS": "36000",
    "DSLICE_STUCK_SECONDS": "0",
}
RUNNING = "SELECT claim_worker, claim_until, attempts FROM svm.step WHERE state = 'running' ORDER BY id"
WORKERS = "SELECT id FROM svm.worker ORDER BY id"


def worker(crew: Crew, **more: str) -> tuple[Daemon, int]:
    """One that is there, and its number."""
    before = {row.id for row in crew.farm.rows(WORKERS)}
    daemon = crew.daemon("worker", **HOURS, **more)
    (number,) = until(lambda: {row.id for row in crew.farm.rows(WORKERS)} - before)
    return daemon, number


def another(crew: Crew) -> Presence:
    """A worker's that looks in the test's turn."""
    return Presence(crew.farm.database, replace(crew.farm.process.worker_context))


def missing(crew: Crew) -> list[int]:
    with crew.farm.database.connect() as connection:
        return absent(connection)


def test_what_a_killed_worker_had_goes_on_in_another(crew: Crew, owner: Credentials) -> None:
    """Claimed steps, and those whose messages it had and had not begun. No beat runs."""
    name = slice_name()
    crew.tickets(name, owner)
    victim, number = worker(crew, DSLICE_WORKER_THREADS="3", DSLICE_WORKER_RESERVED="1")
    crew.farm.fault("all", "slow=30")
    started = crew.leases(name, owner, parallelism=8)
    rows = until(lambda: found if len(found := crew.farm.rows(RUNNING)) == 3 else None)
    assert {row.claim_worker for row in rows} == {number}
    worker(crew)
    victim.signal(KILL)
    crew.farm.fault("all", "ok")
    ended = crew.farm.ended(started.operation)
    assert (ended.outcome, ended.ok, ended.failed) == (Outcome.DONE, 8, 0)
    crew.all_leased_once(name)
    assert number not in {row.id for row in crew.farm.rows(WORKERS)}


def test_a_stopped_worker_keeps_its_claims(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    sleeper, number = worker(crew)
    crew.farm.fault("all", "slow=2")
    started = crew.leases(name, owner, parallelism=8)
    until(lambda: len(crew.farm.rows(RUNNING)) == 8)
    sleeper.signal(STOP)
    looking = another(crew)
    for _ in range(2 * MISSED):
        looking.look()
    looking._leave()
    rows = crew.farm.rows(RUNNING)
    assert len(rows) == 8
    assert {row.claim_worker for row in rows} == {number}
    assert crew.farm.rows(
        "SELECT min(claim_until) > now() + interval '1 hour' AS held FROM svm.step WHERE state = 'running'"
    )[0].held
    sleeper.signal(CONT)
    assert crew.farm.ended(started.operation).ok == 8
    assert_once(crew, started.operation)
    crew.all_leased_once(name)


def test_all_sessions_end_while_steps_are_at_work(crew: Crew, owner: Credentials) -> None:
    """As when PostgreSQL restarts: the workers come back under their numbers, and nothing is done twice."""
    name = slice_name()
    crew.tickets(name, owner)
    _, number = worker(crew)
    crew.farm.fault("all", "slow=6")
    started = crew.leases(name, owner, parallelism=8)
    until(lambda: len(crew.farm.rows(RUNNING)) == 8)
    with crew.without_database():
        pass
    until(lambda: missing(crew) == [])
    assert {row.claim_worker for row in crew.farm.rows(RUNNING)} == {number}
    assert crew.farm.ended(started.operation).ok == 8
    assert_once(crew, started.operation)
    crew.all_leased_once(name)
    assert number in {row.id for row in crew.farm.rows(WORKERS)}


def assert_once(crew: Crew, operation: object) -> None:
    rows = crew.farm.rows("SELECT DISTINCT attempts FROM svm.step WHERE operation = :o", o=operation)
    assert [row.attempts for row in rows] == [1]


def test_a_worker_is_missed_some_times_before_it_is_dead(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by one that had to come back itself only when the others have had time to."""
    crew.farm.process._presence.stop()  # it would look, too
    dead: list[int] = []

    def release_claims(_: object, workers: list[int]) -> tuple[list[int], int]:
        dead.extend(workers)
        return [], 0

    monkeypatch.setattr(presence, "release_claims", release_claims)
    looking = another(crew)
    looking.look()
    with crew.farm.database.connect() as connection:
        connection.detach()
        number = enter(connection)
        connection.commit()
    until(lambda: missing(crew) == [number])
    for _ in range(MISSED - 1):
        looking.look()
    assert dead == []
    crew.farm.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = CAST(:n AS oid)",
        n=looking._number,
    )
    until(lambda: looking._number in missing(crew))
    looking._try()
    assert looking._worker_context.worker is None
    for _ in range(SETTLING + MISSED - 1):
        looking._try()
    assert dead == []
    assert looking._worker_context.worker == looking._number
    looking._try()
    assert dead == [number]
    looking._leave()


def test_a_session_that_was_changed_for_another_is_left(crew: Crew) -> None:
    """By a pooler, say: its lock is not ours any more, and claims made under it would seem to be a dead worker's."""
    looking = another(crew)
    looking.look()
    assert looking._session
    looking._session.execute(text("SELECT pg_advisory_unlock_all()"))
    looking.look()
    assert looking._worker_context.worker is None
    looking.look()
    assert looking._worker_context.worker == looking._number
    looking._leave()


def test_a_worker_that_comes_back_to_newer_tables_ends_itself(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """svmd was upgraded while PostgreSQL had cut all sessions, and so found nobody at work."""
    monkeypatch.setattr(presence, "_end", lambda: None)  # this process is a worker, too, and has to stay
    daemon = crew.daemon("worker", **HOURS)
    (was,) = crew.farm.rows("SELECT version_num FROM svm.alembic_version")
    crew.farm.execute("UPDATE svm.alembic_version SET version_num = 'svm_9999'")
    try:
        with crew.without_database():
            pass
        assert daemon.ended() == 0
        said = [line for line in daemon.log.read_text().splitlines() if "this worker ends itself" in line]
        assert len(said) == 1
        assert "schema svm was made by a newer version of dslice" in said[0]
    finally:
        crew.farm.execute("UPDATE svm.alembic_version SET version_num = :was", was=was.version_num)
