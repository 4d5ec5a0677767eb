"""Group commit: everyone waits for the own commit, one that fails never harms its neighbours."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

import lifecycle.writer as writing
from lifecycle.operations import SliceSpec
from lifecycle.outcome import Record
from lifecycle.steps import StepRef
from lifecycle.writer import Writer
from models.states import Verb
from tests.integration.lifecycle.world import World, tickets


@pytest.fixture
def published() -> list[StepRef]:
    return []


@pytest.fixture
def writer(database: Engine, published: list[StepRef]) -> Iterator[Writer]:
    made = Writer(database, published.extend, patience=2)
    yield made
    made.stop()


def begun(world: World, nodes: int) -> list[Record]:
    started = world.start(Verb.CREATESLICE, spec=SliceSpec(nodes, 3600), parallelism=nodes)
    (ticket,) = world.claim(started.publish)
    _, refs = world.record((ticket, tickets([f"127.0.1.{n}" for n in range(1, nodes + 1)])))
    return [Record(claim, world.answer(claim)) for claim in world.claim(refs)]


def test_many_records_in_one_transaction(world: World, writer: Writer, published: list[StepRef]) -> None:
    records = begun(world, 40)
    futures = [writer.submit(record) for record in records]
    writer.start()
    assert [future.result(10).ours for future in futures] == [True] * 40
    assert writer.groups == 1
    assert len(published) == 40
    assert set(world.states().values()) == {"leased"}


@pytest.mark.parametrize(("at_work", "waits"), [(writing.FEW + 1, False), (writing.FEW + 2, True)])
def test_while_many_steps_are_at_work_it_waits_for_more_records(
    world: World, writer: Writer, monkeypatch: pytest.MonkeyPatch, at_work: int, waits: bool
) -> None:
    records = begun(world, 2)
    waited: list[float] = []
    monkeypatch.setattr(writing, "sleep", waited.append)
    for _ in range(at_work):
        writer.expect()
    futures = [writer.submit(record) for record in records[:1]]
    writer.start()
    assert futures[0].result(10).ours
    assert bool(waited) is waits
    assert all(seconds <= writing.LONGEST_WAIT for seconds in waited)


def test_a_record_that_fails_does_not_harm_its_neighbours(world: World, writer: Writer) -> None:
    records = begun(world, 5)
    world.execute("""
        CREATE FUNCTION svm.fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON svm.event FOR EACH ROW
            WHEN (NEW.node = '127.0.1.3' AND NEW.kind = 'newleases') EXECUTE FUNCTION svm.fail()""")
    futures = [writer.submit(record) for record in records]
    writer.start()
    failed = [future.exception(10) is not None for future in futures]
    assert failed == [record.claim.node == "127.0.1.3" for record in records]
    assert sorted(world.states().values()) == ["leased"] * 4 + ["ticketed"]
    world.execute("DROP TRIGGER fail ON svm.event")
    assert writer.submit(records[failed.index(True)]).result(10).ours
    assert set(world.states().values()) == {"leased"}


def test_a_late_record_is_told_so(world: World, writer: Writer) -> None:
    (record,) = begun(world, 1)
    writer.start()
    assert writer.submit(record).result(10).ours is True
    assert writer.submit(record).result(10).ours is False


def test_a_caller_that_gives_up_ends_nothing(world: World, writer: Writer) -> None:
    records = begun(world, 3)
    given_up, *others = [writer.submit(record) for record in records]
    given_up.cancel()
    writer.start()
    assert [future.result(10).ours for future in others] == [True, True]
    assert set(world.states().values()) == {"leased"}
    assert writer.submit(records[0]).result(10).ours is False  # and it goes on


def test_without_a_free_connection_records_wait(world: World, database_url: str) -> None:
    (record,) = begun(world, 1)
    narrow = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    patient = Writer(narrow, lambda refs: None, patience=30)
    patient.start()
    held = narrow.connect()
    waiting = patient.submit(record)
    with pytest.raises(TimeoutError):
        waiting.result(1)
    held.close()
    assert waiting.result(30).ours is True
    patient.stop()
    narrow.dispose()


def test_waking_through_the_writer(world: World, writer: Writer, published: list[StepRef]) -> None:
    (record,) = begun(world, 1)
    world.execute("UPDATE svm.step SET state = 'held', claim_token = NULL, claim_until = NULL WHERE state = 'running'")
    world.execute("UPDATE svm.operation SET in_flight = 0")
    writer.start()
    assert writer.wake(record.claim.operation).result(10)
    assert [ref.id for ref in published] == [record.claim.id]


def test_while_postgresql_is_away_records_wait(world: World, writer: Writer, database_url: str) -> None:
    """Connections are cut again and again; what was submitted is written all the same."""
    records = begun(world, 20)
    writer.start()
    futures = []
    for record in records:
        world.execute("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()""")
        futures.append(writer.submit(record))
    assert [future.result(10).ours for future in futures] == [True] * 20


def test_what_is_waiting_is_written_before_the_end(world: World, database: Engine) -> None:
    records = begun(world, 10)
    writer = Writer(database, lambda refs: None)
    futures = [writer.submit(record) for record in records]
    writer.start()
    writer.stop()
    assert all(future.done() and future.result().ours for future in futures)
