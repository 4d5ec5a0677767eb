"""Leases that end: who granted less, which end first, deletion after the end, and whose clock counts."""

import re
from datetime import timedelta
from pathlib import Path

import click
import pytest
from sqlalchemy import Engine, text

from lifecycle.outcome import Claim, Done, Failed
from models.states import Kind
from tests.integration.svm.conftest import Running, Svm, expire, succeed
from trust.clock import SystemClock

RED = "\x1b[31m"


def grants_less(step: Claim) -> Done | Failed:
    """As `succeed`, but the first node renews for an hour only."""
    done = succeed(step)
    if step.kind is not Kind.RENEW or step.node != "127.0.1.1":
        return done
    assert isinstance(done, Done)
    end = SystemClock().now() + timedelta(hours=1)
    detail = {**(done.detail or {}), "new": end.isoformat(), "short": True}
    return Done(lease=done.lease, generation=done.generation, expires_at=end, detail=detail)


def test_a_node_that_grants_less_says_so_on_its_line(
    svm: Svm, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    svm("createslice", demo)
    svmd.worker.results = grants_less
    capsys.readouterr()
    assert svm("renewslice", "demo") == 0
    first, *others = sorted(capsys.readouterr().out.splitlines())
    assert re.fullmatch(r"Success on 127\.0\.1\.1: granted less than asked, until \S+ \S+ UTC", first)
    assert others == ["Success on 127.0.1.2", "Success on 127.0.1.3"]


def test_the_soonest_stands_first_and_is_red_under_a_day(
    svm: Svm, demo: Path, database: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    svm("createslice", demo)
    with database.begin() as connection:
        for node, hours in (("127.0.1.2", 2), ("127.0.1.1", 30), ("127.0.1.3", 400)):
            statement = text("UPDATE svm.sliver SET expires_at = now() + make_interval(hours => :h) WHERE node = :n")
            connection.execute(statement, {"h": hours, "n": node})
    capsys.readouterr()
    # A terminal: where there is none, click takes the colours out.
    monkeypatch.setattr("svm.output.click.echo", print)
    assert svm("expirations", "--table", "demo") == 0
    _, *rows = capsys.readouterr().out.splitlines()
    assert [click.unstyle(row).split()[0] for row in rows] == ["127.0.1.2", "127.0.1.1", "127.0.1.3"]
    assert [RED in row for row in rows] == [True, False, False]
    assert "1 d 5 h" in rows[1]


def test_status_says_what_ends_soon(svm: Svm, demo: Path, database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    def warned(change: str = "SELECT 1") -> str:
        with database.begin() as connection:
            connection.execute(text(change))
        capsys.readouterr()
        assert svm("status", "demo") == 0
        return capsys.readouterr().err

    svm("createslice", demo)
    assert warned() == ""
    assert warned("UPDATE svm.sliver SET expires_at = now() + interval '4 days'") == ""
    assert warned("UPDATE svm.slice SET leaselen = 1209600") == ""
    soon = "UPDATE svm.sliver SET expires_at = now() + interval '2 days' WHERE node = '127.0.1.2'"
    assert re.match(r"the first lease ends \S+ \S+ UTC: svm renewslice demo keeps it", warned(soon))
    assert svm("autorenew", "demo", "on") == 0
    assert warned() == ""
    until = "UPDATE svm.slice SET autorenew_until = now() + interval '2 days'"
    assert re.match(r"autorenew ends \S+ \S+ UTC: svm autorenew demo on goes on", warned(until))


def test_a_slice_is_deleted_after_its_leases_have_ended(
    svm: Svm, demo: Path, database: Engine, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    svm("createslice", demo)
    expire(database)
    capsys.readouterr()
    assert svm("deleteslice", "demo") == 0
    assert sorted(capsys.readouterr().out.splitlines()) == [f"Success on 127.0.1.{n}" for n in (1, 2, 3)]
    assert not (home / "slices" / "demo").exists()
    assert svm("status", "demo") == 1


@pytest.mark.parametrize("days", [-10, 10])
def test_clean_goes_by_the_databases_clock(
    svm: Svm,
    demo: Path,
    database: Engine,
    days: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Howto: "If your clock is ahead by several days, files will get blown away several days before"; not here."""
    svm("createslice", demo)
    monkeypatch.setenv("DSLICE_CLOCK_OFFSET", str(days * 86_400))
    capsys.readouterr()
    assert svm("clean") == 0
    assert svm("nodelist", "demo") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    expire(database)
    assert svm("clean") == 0
    assert "purged demo" in capsys.readouterr().err
