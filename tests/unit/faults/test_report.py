"""The table, and which points of a step nobody died at."""

from tests.faults.breaking.points import missed
from tests.faults.crashing import REQUIRED
from tests.faults.invariants import Breach
from tests.faults.report import markdown, plain
from tests.faults.runner import Outcome

ONE = Outcome("one", runs=2, kills=10, steps=1_000, lost=0, doubled=1, again=3, seconds=4.25)
OTHER = Outcome("other", runs=1, kills=5, steps=200, lost=1, doubled=0, again=0, seconds=9)


def test_the_last_line_has_the_sums_and_the_longest_time() -> None:
    assert list(markdown([ONE, OTHER]))[-1] == "| all | 3 | 15 | 1,200 | 1 | 1 | 3 | 9.0 |"
    assert len({len(line) for line in plain([ONE, OTHER])}) == 1


def test_what_was_found_is_counted_and_told() -> None:
    outcome = Outcome("case")
    assert outcome.good
    outcome.note([Breach("lost", "a", "gone"), Breach("doubled", "b", "twice")])
    assert (outcome.lost, outcome.doubled, outcome.good) == (1, 1, False)
    assert outcome.why == ["lost: a: gone", "doubled: b: twice"]


def test_a_kind_that_came_by_must_have_died_at_each_point() -> None:
    whole = {f"renew, {place}" for place in REQUIRED}
    assert missed(whole) == []
    assert missed(whole - {"renew, before commit"}) == ["renew, before commit"]
    assert missed({"delete, before its message is sent", "canary, claim committed"}) == []
