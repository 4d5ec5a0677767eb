"""What `svm doctor` makes of what it sees."""

from datetime import timedelta

import pytest

from svm.checks import Check, agents, certificate, clock, slices
from tests.unit.svm.test_health import NOW, around_at, told


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
    told = [{"name": "a", "ok": True, "nodes": 8, "quotas": {"watched": 3, "hard": 5}}]
    assert [check.line() for check in agents(told)] == ["ok   agent a, 8 nodes, disk quota hard on 5, watched on 3"]
    assert [check.ok for check in agents([])] == [False]


def test_a_slice_that_is_well_and_one_that_is_not() -> None:
    around = around_at(NOW)
    well = "slice demo, 3 of 3 running, first lease ends 2026-03-11 12:00:00 UTC"
    assert list(slices([told()], [], around)) == [Check(True, well)]
    assert list(slices([told(first_end=None, autorenew=False)], [], around)) == [
        Check(True, "slice demo, 3 of 3 running")
    ]
    (check,) = slices([told(nodes={"running": 2, "expired": 1})], [], around)
    assert check.line().startswith("BAD  slice demo, 2 of 3 running, nodes are lacking: svm createslice FILE")


def test_what_is_left_of_a_slice_that_is_gone() -> None:
    trouble = {"slice": "old", "node": "127.0.1.1", "what": "silent", "since": NOW.isoformat(), "reason": "refused"}
    first, second = slices([told()], [trouble], around_at(NOW))
    assert (first.ok, second.ok) == (True, False)
    assert "not answered since 2026-03-01 12:00:00 UTC: what is left of the slice there ends" in second.advice
    assert second.advice.endswith("(refused)")
