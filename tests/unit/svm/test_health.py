"""Whether a slice is well: all that it asked for runs, and nothing else is known to be wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.diagnosis import Trouble
from svm.health import Around, Worry, renewal_end, running, worries

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(**more: Any) -> dict[str, Any]:
    """A slice as svmd tells it."""
    plain = {"name": "demo", "state": "open", "numnodes": 3, "nodes": {"running": 3}, "operations": []}
    ends = {"autorenew_until": None, "standing_until": None, "first_end": in_days(10), "leaselen": 1_209_600}
    return {**plain, **ends, "autorenew": False, "heal": False, **more}


def trouble(what: str, reason: str | None = None) -> dict[str, Any]:
    return {"slice": "demo", "node": "127.0.1.1", "what": what, "since": in_days(-1), "reason": reason}


def in_days(days: float) -> str:
    return (NOW + timedelta(days=days)).isoformat()


def around_at(now: datetime, certificate_days: float = 100, *roles: dict[str, Any]) -> Around:
    return Around(now, now + timedelta(days=certificate_days), roles)


def only(found: list[Worry]) -> Worry:
    (worry,) = found
    return worry


@given(
    st.dictionaries(st.sampled_from(["running", "leased", "ticketed", "expired", "deleting"]), st.integers(0, 5)),
    st.integers(1, 5),
    st.lists(st.sampled_from([*Trouble, "stopped", "full", "what nobody knows yet"]), max_size=2),
    st.booleans(),
    st.sampled_from(["open", "deleting"]),
)
def test_well_is_n_of_n_and_nothing_found(
    nodes: dict[str, int], numnodes: int, troubles: list[str], beat: bool, state: str
) -> None:
    role = {"name": "beat", "ok": beat, "reason": "no sign of life", "advice": "dslice start beat"}
    found = told(nodes=nodes, numnodes=numnodes, state=state)
    bad = worries(found, [trouble(what) for what in troubles], around_at(NOW, 100, role))
    well = state == "open" and nodes.get("running", 0) >= numnodes and not troubles and beat
    assert (not bad) is well
    assert all(worry.where and worry.cure for worry in bad)


@pytest.mark.parametrize(
    ("more", "where", "cure"),
    [
        ({"nodes": {}}, "nodes are lacking", "svm createslice FILE"),
        ({"nodes": {"leased": 3}}, "nodes are lacking", "svm createslice FILE"),
        ({"nodes": {}, "operations": [{"verb": "createslice"}]}, "createslice goes on", "svm watch demo"),
        ({"nodes": {}, "operations": [{"verb": "addkey"}]}, "nodes are lacking", "svm createslice FILE"),
        ({"state": "deleting"}, "being deleted", "svm deleteslice demo"),
        ({"state": "deleting", "operations": [{"verb": "deleteslice"}]}, "being deleted", "svm watch demo"),
    ],
)
def test_fewer_nodes_than_asked_for(more: dict[str, Any], where: str, cure: str) -> None:
    worry = only(worries(told(**more), [], around_at(NOW)))
    assert worry.where == where
    assert cure in worry.cure


@pytest.mark.parametrize(
    ("what", "cure"),
    [
        ("orphan", "ends with its lease"),
        ("missing", "svm deleteslice demo, then svm createslice FILE"),
        ("keys", "when repeated"),
        ("pair", "svm rekey demo"),
        ("stopped", "since 2026-02-28 12:00:00 UTC: svm start demo 127.0.1.1 starts it"),
        ("silent", "not answered since 2026-02-28 12:00:00 UTC: svm heal demo on"),
        ("full", "full; svm history demo"),
    ],
)
def test_what_ails_a_sliver(what: str, cure: str) -> None:
    worry = only(worries(told(), [trouble(what, "refused")], around_at(NOW)))
    assert worry.where == "127.0.1.1"
    assert cure in worry.cure
    assert worry.cure.endswith("(refused)")


def test_a_vm_that_stopped_is_one_worry_and_not_two() -> None:
    stopped = {"nodes": {"running": 2, "stopped": 1}}
    assert running(told(**stopped)) == "2 of 3 running, 1 stopped"
    assert "svm start demo" in only(worries(told(**stopped), [trouble("stopped")], around_at(NOW))).cure
    lacking, _ = worries(told(nodes={"running": 1, "stopped": 1}), [trouble("stopped")], around_at(NOW))
    assert lacking.where == "nodes are lacking"


def test_nobody_is_told_to_switch_on_what_is_on_or_cannot_be() -> None:
    standing = {"heal": True, "standing_until": in_days(50)}
    for more in (standing, {"state": "deleting", "nodes": {"deleting": 1}}):
        bad = worries(told(**more), [trouble("silent")], around_at(NOW))
        assert all("svm heal" not in worry.cure for worry in bad), bad


@pytest.mark.parametrize(
    ("more", "certificate_days", "where", "cure"),
    [
        ({"autorenew": True}, 9, "no standing delegation", "svm delegate demo gives one"),
        ({"heal": True}, 9, "no standing delegation", "svm delegate demo gives one"),
        ({"autorenew": True, "standing_until": in_days(2)}, 9, "the delegation ends 2026-03-03", "svm delegate demo"),
        (
            {"autorenew": True, "standing_until": in_days(2)},
            2,
            "the delegation ends 2026-03-03",
            "plkeygen --renew and then svm delegate demo extend it",
        ),
        (
            {"autorenew": True, "standing_until": in_days(2), "autorenew_until": in_days(1)},
            9,
            "autorenew ends 2026-03-02",
            "svm autorenew demo on",
        ),
        ({"first_end": in_days(2)}, 9, "the first lease ends 2026-03-03", "svm renewslice demo"),
        ({"first_end": in_days(0.1), "leaselen": 20_000}, 9, "the first lease ends", "svm renewslice demo"),
    ],
)
def test_what_ends_soon(more: dict[str, Any], certificate_days: float, where: str, cure: str) -> None:
    worry = only(worries(told(**more), [], around_at(NOW, certificate_days)))
    assert worry.where.startswith(where)
    assert worry.cure.startswith(cure)


@pytest.mark.parametrize(
    "more",
    [
        {"autorenew": True, "standing_until": in_days(9)},
        {"first_end": in_days(0.2), "leaselen": 20_000},
        {"first_end": in_days(0.1), "autorenew": True, "standing_until": in_days(9)},
    ],
)
def test_what_does_not_end_soon(more: dict[str, Any]) -> None:
    assert worries(told(**more), [], around_at(NOW)) == []


@pytest.mark.parametrize(("until", "standing", "end"), [(1, 2, 1), (2, 1, 1), (None, 2, 2), (1, None, 1)])
def test_autorenew_ends_where_the_first_of_two_ends_comes(
    until: float | None, standing: float | None, end: float
) -> None:
    found = told(
        autorenew_until=in_days(until) if until else None, standing_until=in_days(standing) if standing else None
    )
    assert renewal_end(found) == NOW + timedelta(days=end)
