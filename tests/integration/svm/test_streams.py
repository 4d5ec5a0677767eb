"""Event streams: in order, to the end, over every break, and only while the watcher is welcome."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from models.database import engine, migrate
from rpc.blocking import ServerSentEvent
from rpc.credentials import Credentials
from svm.service import streaming, watching
from svm.service.watching import Watchers, listening
from testbed.embedded import Postgres
from tests.integration.svm.conftest import Lab, Running, running
from tests.integration.svm.test_refusals import create
from trust.errors import Code, Refusal

KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE query LIKE 'LISTEN%' AND datname = current_database()"""


def stream(svmd: Running, user: Credentials, operation: str, after: int = 0) -> Iterator[ServerSentEvent]:
    with svmd.connection(user) as connection:
        yield from connection.stream(f"/operations/{operation}/events", {"Last-Event-ID": str(after)})


def types(found: list[ServerSentEvent]) -> list[str]:
    return [event.event for event in found]


def test_all_events_in_order_with_their_numbers(svmd: Running, lab: Lab) -> None:
    pi = lab.user()
    operation = create(svmd, pi)
    found = list(stream(svmd, pi, operation))
    assert [int(event.id) for event in found] == list(range(1, len(found) + 1))
    assert types(found)[0] == "started"
    assert types(found)[-1] == "ended"
    assert types(found).count("node") == 2
    assert json.loads(found[-1].data)["detail"]["outcome"] == "done"


def test_a_brief_stream_leaves_out_what_nobody_is_shown(svmd: Running, lab: Lab) -> None:
    pi = lab.user()
    operation = create(svmd, pi)
    whole = list(stream(svmd, pi, operation))
    with svmd.connection(pi) as connection:
        brief = list(connection.stream(f"/operations/{operation}/events?brief=true"))
    assert "step" in types(whole)
    assert brief == [event for event in whole if event.event != "step"]


def test_from_the_middle_and_from_the_end(svmd: Running, lab: Lab) -> None:
    pi = lab.user()
    operation = create(svmd, pi)
    found = list(stream(svmd, pi, operation))
    assert list(stream(svmd, pi, operation, 3)) == found[3:]
    assert list(stream(svmd, pi, operation, len(found))) == []
    assert list(stream(svmd, pi, operation, 10_000)) == []


@pytest.mark.parametrize("after", ["-1", "x", str(2**40)])
def test_a_last_event_id_that_makes_no_sense(svmd: Running, lab: Lab, after: str) -> None:
    pi = lab.user()
    operation = create(svmd, pi)
    with svmd.connection(pi) as connection, pytest.raises(Refusal) as caught:
        list(connection.stream(f"/operations/{operation}/events", {"Last-Event-ID": after}))
    assert caught.value.code is Code.BAD_INPUT


def test_a_notification_wakes_at_once(svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LOOK_SECONDS", 3600)
    svmd.worker.idle = True
    pi = lab.user()
    events = stream(svmd, pi, create(svmd, pi))
    assert types(list(islice(events, 1))) == ["started"]
    svmd.worker.resume()
    assert types(list(events))[-1] == "ended"


def test_without_notifications_it_looks_by_itself(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a database of its own, for whoever listens there listens no more afterwards."""
    monkeypatch.setattr(streaming, "LOOK_SECONDS", 0.1)
    with own_database(tmp_path) as (_, database), running(lab, database) as svmd:
        monkeypatch.setattr(watching, "RECONNECT_SECONDS", 3600)
        killed: list[Any] = []
        while not killed:  # it may not listen yet
            with database.begin() as connection:
                killed += connection.execute(text(KILL)).all()
        svmd.worker.idle = True
        pi = lab.user()
        events = stream(svmd, pi, create(svmd, pi))
        assert types(list(islice(events, 1))) == ["started"]
        svmd.worker.resume()
        assert types(list(events))[-1] == "ended"


async def test_after_a_lost_connection_everyone_looks_again(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RECONNECT_SECONDS", 0.01)
    watchers, operation = Watchers(), uuid4()
    with watchers.watching(operation) as news:
        async with listening(database, watchers):
            await news.wait()
            news.clear()
            with database.begin() as connection:
                assert connection.execute(text(KILL)).all()
            await news.wait()


async def test_a_notification_wakes_those_who_watch_that_operation_only(database: Engine) -> None:
    watchers, mine, other = Watchers(), uuid4(), uuid4()
    with watchers.watching(mine) as news, watchers.watching(other) as silence:
        async with listening(database, watchers):
            await asyncio.gather(news.wait(), silence.wait())
            news.clear()
            silence.clear()
            notify(database, f"nonsense {uuid4()} {mine}")
            await news.wait()
            assert not silence.is_set()
    assert watchers.watched == frozenset[UUID]()


def notify(database: Engine, payload: str) -> None:
    with database.begin() as connection:
        connection.execute(text("SELECT pg_notify('dslice_operations', :payload)"), {"payload": payload})


def test_a_revoked_watcher_is_sent_away(svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "RECHECK_SECONDS", -1)
    monkeypatch.setattr(streaming, "LOOK_SECONDS", 0.05)
    svmd.worker.idle = True
    pi = lab.user()
    operation = create(svmd, pi)
    events = stream(svmd, pi, operation)
    assert types(list(islice(events, 1))) == ["started"]
    lab.revoke(pi.certificate)
    assert list(events) == []
    with pytest.raises(Refusal) as caught:
        list(stream(svmd, pi, operation))
    assert caught.value.code is Code.REVOKED


def test_comments_keep_a_quiet_stream_alive(svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "QUIET_SECONDS", -1)
    monkeypatch.setattr(streaming, "LOOK_SECONDS", 0.05)
    svmd.worker.idle = True
    pi = lab.user()
    operation = create(svmd, pi)
    with svmd.connection(pi) as connection:
        events = connection.stream(f"/operations/{operation}/events", idle=1)
        assert types(list(islice(events, 1))) == ["started"]
        threading.Timer(2, svmd.worker.resume).start()
        assert types(list(events))[-1] == "ended"


def test_a_stream_outlives_a_restart_of_postgresql(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LOOK_SECONDS", 0.1)
    with own_database(tmp_path) as (server, database), running(lab, database) as svmd:
        svmd.worker.idle = True
        pi = lab.user()
        events = stream(svmd, pi, create(svmd, pi))
        assert types(list(islice(events, 1))) == ["started"]
        server.stop()
        with svmd.connection(pi) as connection, pytest.raises(Refusal, match="database does not answer") as refused:
            connection.call("GET", "/slices")
        assert refused.value.code is Code.UNREACHABLE
        server.start()
        svmd.worker.resume()
        assert types(list(events))[-1] == "ended"


@contextmanager
def own_database(folder: Path) -> Iterator[tuple[Postgres, Engine]]:
    """A server that nobody else uses, and its migrated database."""
    server = Postgres(folder / "postgres", scratch=True)
    server.start()
    try:
        migrate(server.url("svm"), "svm")
        database = engine(server.url("svm"))
        yield server, database
        database.dispose()
    finally:
        server.stop()
