"""What `svm doctor` makes of what it sees."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from svm.checks import Check, agents, certificate, clock, slices

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def found(**more: Any) -> dict[str, Any]:
    plain = {"name": "demo", "nodes": {"running": 3}, "autorenew": False, "heal": False}
    return {**plain, "autorenew_until": None, "standing_until": None, **more}


def in_days(days: float) -> str:
    return (NOW + timedelta(days=days)).isoformat()


def test_a_certificate_s_days() -> None:
    assert certificate("pi@a.example", NOW + timedelta(days=60), NOW).line() == (
        "ok   certificate of pi@a.example, 60 days left"
    )
    soon = certificate("pi@a.example", NOW + timedelta(days=6), NOW)
    assert (soon.ok, "plkeygen --renew" in soon.advice) == (False, True)
    assert "it ended at 2026-02-28" in certificate("pi@a.example", NOW - timedelta(days=1), NOW).line()


@pytest.mark.parametrize(
    ("theirs", "ok", "what"), [(0, True, ""), (29, True, ""), (90, False, "behind"), (-90, False, "ahead")]
)
def test_the_clock(theirs: int, ok: bool, what: str) -> None:
    """svmd's was read somewhere within the second that the call took."""
    check = clock(NOW + timedelta(seconds=theirs), NOW, NOW + timedelta(seconds=1))
    assert check.ok is ok
    assert what in check.what
    assert ok or "89 s" in check.what or "90 s" in check.what


def test_agents() -> None:
    told = [{"name": "a", "ok": True, "nodes": 8}, {"name": "b", "ok": False, "reason": "no answer"}]
    assert [check.line() for check in agents(told)] == ["ok   agent a, 8 nodes", "BAD  agent b: no answer"]
    assert [check.ok for check in agents([])] == [False]


def test_a_slice_that_is_well() -> None:
    assert list(slices([found()], [], NOW)) == [Check(True, "slice demo, 3 running")]
    (check,) = slices([found(autorenew=True, standing_until=in_days(9))], [], NOW)
    assert check.ok


@pytest.mark.parametrize(
    ("what", "advice"), [("orphan", "ends with its lease"), ("missing", "svm deleteslice demo"), ("keys", "svm addkey")]
)
def test_what_ails_a_sliver(what: str, advice: str) -> None:
    trouble = {"slice": "demo", "node": "127.0.1.1", "what": what, "since": in_days(-1), "reason": None}
    (check,) = slices([found()], [trouble], NOW)
    assert (check.ok, check.what) == (False, "slice demo, 127.0.1.1")
    assert advice in check.advice


def test_a_silent_node_and_a_slice_that_is_gone() -> None:
    trouble = {"slice": "old", "node": "127.0.1.1", "what": "silent", "since": in_days(-1), "reason": "refused"}
    first, second = slices([found()], [trouble], NOW)
    assert first.ok
    assert "not answered since 2026-02-28 12:00:00 UTC: svm heal old on" in second.advice
    assert second.advice.endswith("(refused)")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"autorenew": True, "standing_until": None}, "delegation over"),
        ({"heal": True, "standing_until": in_days(-1)}, "delegation over"),
        ({"autorenew": True, "standing_until": in_days(2)}, "delegation until 2026-03-03"),
        ({"autorenew": True, "standing_until": in_days(2), "autorenew_until": in_days(1)}, ""),
        ({"standing_until": in_days(-1)}, ""),
    ],
)
def test_delegations(more: dict[str, Any], says: str) -> None:
    (check,) = slices([found(**more)], [], NOW)
    assert check.ok is (not says)
    assert says in check.what
