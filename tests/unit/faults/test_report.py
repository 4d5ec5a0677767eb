"""The table, and which points nobody died at."""

from pathlib import Path

import pytest

from tests.faults.breaking.points import missed
from tests.faults.invariants import Breach
from tests.faults.report import markdown, plain
from tests.faults.runner import Outcome

ONE = Outcome("one", runs=2, kills=10, broken=3, steps=1_000, lost=0, doubled=1, again=3, seconds=4.25)
OTHER = Outcome("other", runs=1, kills=5, steps=200, lost=1, doubled=0, again=0, seconds=9)


def test_the_last_line_has_the_sums_and_the_longest_time() -> None:
    assert list(markdown([ONE, OTHER]))[-1] == "| all | 3 | 15 | 3 | 1,200 | 1 | 1 | 3 | 9.0 |"
    assert len({len(line) for line in plain([ONE, OTHER])}) == 1


def test_what_was_found_is_counted_and_told() -> None:
    outcome = Outcome("case")
    assert outcome.good
    outcome.note([Breach("lost", "a", "gone"), Breach("doubled", "b", "twice")])
    assert (outcome.lost, outcome.doubled, outcome.good) == (1, 1, False)
    assert outcome.why == ["lost: a: gone", "doubled: b: twice"]


@pytest.mark.parametrize(
    ("role", "verb"),
    [("worker", "deleteslice"), ("svmd", "addkey"), ("agent", "deleteslice"), ("simnodes", "createslice")],
)
def test_each_point_that_a_verb_comes_to_must_have_had_its_death(role: str, verb: str, tmp_path: Path) -> None:
    points = missed(role, verb, tmp_path)
    for point in points[1:]:
        (tmp_path / point).touch()
    assert missed(role, verb, tmp_path) == points[:1] != []
    (tmp_path / points[0]).touch()
    assert missed(role, verb, tmp_path) == []
