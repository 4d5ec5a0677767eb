"""The ledger of sliver-hours at plc: what nodes tell, what it comes to, and who may read it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from models.plc import usage as table
from plc.client import Member
from plc.client.usage import Total, Used
from plc.forgetting import forget
from tests.integration.plc.conftest import Certified, Running, refused
from tests.integration.plc.test_plcverbs import run
from trust.errors import Code
from trust.identity import Role

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def interval(
    owner: str, slice: str, began: float, ended: float | None, kind: str = "granted", bound: float = 24
) -> Used:
    return Used(uuid4().hex, kind, slice, uuid4(), owner, at(began), at(bound), None if ended is None else at(ended))


@pytest.fixture(autouse=True)
def _as_it_was(plc: Running) -> Iterator[None]:
    yield
    with plc.central.begin() as connection:
        connection.execute(table.delete())


@pytest.fixture
def node(plc: Running) -> Member:
    return plc.member(Role.NODE)


@pytest.fixture
def admin(plc: Running) -> Certified:
    return plc.certified(is_admin=True)


def totals(admin: Certified, by: str, first: float = 0, last: float = 100) -> dict[tuple[str, str], tuple[int, int]]:
    _, _, found = admin.plc.usage(by, at(first), at(last), everyones=True)
    return {(one.of, one.owner): (one.granted, one.used) for one in found}


def test_hours_are_counted_within_the_times_asked_for(plc: Running, node: Member, admin: Certified) -> None:
    one, two = plc.person(site="Rice"), plc.person(site="Rice")
    told = [interval(one, "alpha", 1, 5), interval(one, "alpha", 2, 4, "used"), interval(two, "beta", 3, None, bound=6)]
    node.plc.tell_usage(told)
    assert totals(admin, "user") | {} == {(one, one): (4 * HOUR, 2 * HOUR), (two, two): (3 * HOUR, 0)}
    assert totals(admin, "slice", 3, 4) == {("alpha", one): (HOUR, HOUR), ("beta", two): (HOUR, 0)}
    assert totals(admin, "site", 4, 5) == {("Rice", ""): (2 * HOUR, 0)}
    assert totals(admin, "node", 0, 2) == {(node.identity.name, ""): (HOUR, 0)}
    assert totals(admin, "user", 6, 7) == {}
    assert totals(admin, "user", 50, 60) == {}
    for told_again in (told, [replace(told[2], ended=at(5))]):
        node.plc.tell_usage(told_again)
    assert totals(admin, "user")[(two, two)] == (2 * HOUR, 0)


def test_an_open_interval_counts_up_to_now(plc: Running, node: Member, admin: Certified) -> None:
    owner, now = plc.person(), datetime.now(UTC).replace(microsecond=0)
    began = now - timedelta(hours=2)
    node.plc.tell_usage([Used("open", "granted", "gamma", uuid4(), owner, began, now + timedelta(days=9), None)])
    _, _, (total,) = admin.plc.usage("user", everyones=True)
    assert total.owner == owner
    assert 2 * HOUR <= total.granted < 2 * HOUR + 600


def test_a_node_speaks_for_itself(plc: Running, node: Member, admin: Certified) -> None:
    other, owner = plc.member(Role.NODE), plc.person()
    same = interval(owner, "alpha", 1, 2)
    node.plc.tell_usage([same])
    other.plc.tell_usage([replace(same, ended=at(5))])
    assert totals(admin, "node") == {(node.identity.name, ""): (HOUR, 0), (other.identity.name, ""): (4 * HOUR, 0)}
    refused(lambda: node.plc.tell_usage([interval(owner, "alpha", 3, 2)]), Code.BAD_INPUT, "before it begins")
    refused(lambda: node.plc.tell_usage([interval(owner, "Not one", 1, 2)]), Code.BAD_INPUT, "")
    for stranger in (plc.certified(is_pi=True), admin):
        refused(lambda who=stranger: who.plc.tell_usage([same]), Code.NOT_ALLOWED, "")  # type: ignore[misc]


def test_everybody_reads_his_own_and_the_operator_everything(plc: Running, node: Member, admin: Certified) -> None:
    who, other = plc.certified(is_pi=True), plc.certified(is_pi=True)
    node.plc.tell_usage([interval(who.email, "mine", 1, 2), interval(other.email, "theirs", 1, 3)])
    _, _, found = who.plc.usage("slice", at(0), at(10))
    assert found == (Total("mine", who.email, HOUR, 0),)
    refused(lambda: who.plc.usage("user", everyones=True), Code.NOT_ALLOWED, "only an admin")
    for service in (node, plc.opened_agent):
        refused(lambda who=service: who.plc.usage("slice"), Code.NOT_ALLOWED, "")  # type: ignore[misc]
    refused(lambda: admin.plc.usage("color", everyones=True), Code.BAD_INPUT, "by is one of")
    refused(lambda: admin.plc.usage("user", at(2), at(1), everyones=True), Code.BAD_INPUT, "--since comes before")


def test_what_ended_long_ago_is_forgotten(plc: Running, node: Member) -> None:
    node.plc.tell_usage([interval(plc.person(), "alpha", 1, 2)])
    with plc.central.engine.connect() as connection:
        for days, left in ((101, 0), (99, 1)):
            forget(connection, 100, at(2) + timedelta(days=days))
            assert len(connection.execute(table.select()).all()) == left
            connection.rollback()


def test_dslice_usage(plc: Running, node: Member, admin: Certified) -> None:
    owner = plc.person(site="Rice")
    node.plc.tell_usage([interval(owner, "alpha", 1, 5), interval(owner, "alpha", 2, 4, "used")])
    environment = {"PLANETLAB_HOME": str(admin.credentials.directory), "DSLICE_PLC_URL": plc.url}
    asked = ("usage", "--as-me", "--since", "2026-03-01", "--until", "2026-03-02T00:00")
    shown = run(environment, asked, "")
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["USER", "GRANTED", "HOURS", "USED", "HOURS"],
        [owner, "4.00", "2.00"],
    ]
    assert "4.00 sliver-hours granted, 2.00 used, 2026-03-01 00:00:00 UTC to" in shown.stderr
    csv = run(environment, (*asked, "--by", "slice", "--csv"), "")
    assert csv.stdout == f"slice,owner,granted_hours,used_hours\nalpha,{owner},4.00,2.00\n"
    (row,) = [json.loads(line) for line in run(environment, (*asked, "--by", "site", "--json"), "").stdout.splitlines()]
    assert (row["of"], row["granted"], row["used"], row["by"]) == ("Rice", 4 * HOUR, 2 * HOUR, "site")
    assert run(environment, (*asked, "--csv", "--json"), "").returncode == 2
    assert "is not a date" in run(environment, ("usage", "--as-me", "--since", "lately"), "").stderr
