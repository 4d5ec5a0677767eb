"""Whatever dies, the operation ends, once: workers, queues and beats are taken away while steps are at work."""

import time
import urllib.error
import urllib.request
from base64 import b64encode

import pytest
import redis

from models.states import Outcome
from rpc.credentials import Credentials
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import until
from tests.integration.workers.child import run
from tests.integration.workers.crew import CONT, KILL, SERVER, STOP, TERM, Crew


def at_work(crew: Crew) -> bool:
    return bool(crew.farm.rows("SELECT 1 FROM svm.step WHERE state = 'running'"))


def test_workers_killed_again_and_again(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    crew.farm.fault("all", "slow=0.3")
    crew.daemon("beat")
    victim = crew.daemon("worker")
    started = crew.leases(name, owner, parallelism=2)
    for _ in range(2):
        until(lambda: at_work(crew))
        victim.signal(KILL)
        victim.ended()
        victim = crew.daemon("worker")
    ended = crew.farm.ended(started.operation)
    assert (ended.outcome, ended.ok, ended.failed) == (Outcome.DONE, 8, 0)
    crew.all_leased_once(name)


def test_a_warm_stop_finishes_what_is_at_work(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    crew.farm.fault("all", "slow=1")
    worker = crew.daemon("worker")
    started = crew.leases(name, owner, parallelism=3)
    until(lambda: at_work(crew))
    worker.signal(TERM)
    assert worker.ended() == 0
    assert not at_work(crew)
    assert crew.farm.rows("SELECT 1 FROM svm.step WHERE kind = 'newleases' AND state = 'done'")
    crew.farm.fault("all", "ok")
    crew.daemon("worker")
    crew.daemon("beat")
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)


def test_a_worker_that_slept_past_its_claim_changes_nothing(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    crew.farm.fault("all", "slow=1")
    sleeper = crew.daemon("worker")
    started = crew.leases(name, owner, parallelism=8)
    # All claims committed: a process stopped within a transaction holds its locks until PostgreSQL ends its session.
    until(lambda: len(crew.farm.rows("SELECT 1 FROM svm.step WHERE state = 'running'")) == 8)
    sleeper.signal(STOP)
    crew.farm.fault("all", "ok")
    crew.daemon("worker")
    crew.daemon("beat")
    assert crew.farm.ended(started.operation).ok == 8
    sleeper.signal(CONT)
    until(lambda: "was no longer ours" in sleeper.log.read_text())
    crew.all_leased_once(name)


def test_the_queue_is_emptied(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    started = crew.leases(name, owner, parallelism=4)
    client = redis.Redis(unix_socket_path=crew.valkey.socket)
    assert client.llen("interactive") == 4
    client.flushall()
    client.close()
    crew.daemon("beat")
    crew.daemon("worker")
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)


def test_the_broker_goes_away_and_comes_back(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    crew.farm.fault("all", "slow=0.5")
    crew.daemon("beat")
    worker = crew.daemon("worker")
    started = crew.leases(name, owner, parallelism=2)
    until(lambda: at_work(crew))
    crew.valkey.stop()
    time.sleep(0.5)
    crew.valkey.start()
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)
    assert worker.process.is_alive()


def test_every_message_comes_ten_times_and_there_are_two_beats(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    started = crew.leases(name, owner, parallelism=8)
    client = redis.Redis(unix_socket_path=crew.valkey.socket)
    for message in client.lrange("interactive", 0, -1):
        client.rpush("interactive", *[message] * 9)
    client.close()
    for _ in range(2):
        crew.daemon("worker")
        crew.daemon("beat", DSLICE_STATE_DIR=str(crew.folder))
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)


def test_queues_of_ones_own(crew: Crew, owner: Credentials) -> None:
    """A worker serves the queues that it is given, and no other."""
    name = slice_name()
    crew.tickets(name, owner)
    crew.daemon("worker", DSLICE_WORKER_QUEUES="housekeeping,renewals")
    started = crew.leases(name, owner)
    client = redis.Redis(unix_socket_path=crew.valkey.socket)
    assert client.llen("interactive") == 8
    client.close()
    crew.daemon("worker", DSLICE_WORKER_QUEUES="interactive")
    assert crew.farm.ended(started.operation).ok == 8


@pytest.mark.parametrize("page", ["workers", "tasks", "broker", "api/workers", "metrics"])
def test_flower_asks_for_a_password(crew: Crew, page: str) -> None:
    flower = crew.daemon("flower", DSLICE_FLOWER_LISTEN="127.0.0.1:0", DSLICE_FLOWER_AUTH="me:secret")
    url = f"http://{flower.ready}/{page}"
    for headers in ({}, {"Authorization": "Basic " + b64encode(b"me:wrong").decode()}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)
        assert caught.value.code == 401
        caught.value.close()
    right = {"Authorization": "Basic " + b64encode(b"me:secret").decode()}
    with urllib.request.urlopen(urllib.request.Request(url, headers=right), timeout=10) as answer:
        assert answer.status == 200
    flower.signal(TERM)
    assert flower.ended() == 0


def test_flower_refuses_to_start_without_a_password(crew: Crew) -> None:
    with pytest.raises(AssertionError, match="user:password"):
        crew.daemon("flower", DSLICE_FLOWER_AUTH="")


def test_beat_stops_when_told(crew: Crew) -> None:
    beat = crew.daemon("beat")
    beat.signal(TERM)
    assert beat.ended() == 0


def test_a_worker_waits_for_svmds_certificate_and_stops_when_told(crew: Crew) -> None:
    """Compose and the testbed start everything at once: the worker comes first sometimes."""
    log = crew.folder / "early.log"
    environment = {**crew.environment, "DSLICE_STATE_DIR": str(crew.folder / "empty")}
    process = SERVER.Process(target=run, args=("worker", environment, str(crew.folder / "early.out"), str(log)))
    process.start()
    until(lambda: log.exists() and "waiting for svmd" in log.read_text())
    process.terminate()
    process.join(30)
    assert process.exitcode in (0, -TERM)
    process.close()


def test_the_database_cuts_every_connection(crew: Crew, owner: Credentials) -> None:
    """As at a restart of PostgreSQL, whose own is in tests/faults: steps at work are done again, and recorded once."""
    name = slice_name()
    crew.tickets(name, owner)
    crew.farm.fault("all", "slow=0.5")
    crew.daemon("beat")
    worker = crew.daemon("worker")
    started = crew.leases(name, owner, parallelism=4)
    cut = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    for _ in range(3):
        until(lambda: at_work(crew) or crew.farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NOT NULL") != [])
        crew.farm.rows(cut)
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)
    assert worker.process.is_alive()
