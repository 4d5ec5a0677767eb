"""Each planted bug still fits the code that it is planted in."""

import ast

import pytest

from tests.faults.__main__ import ALONE
from tests.faults.cases import CASES
from tests.faults.planted.bug import REPOSITORY, Bug, case
from tests.faults.planted.bugs import BUGS
from tests.faults.planted.run import Verdict, table

NAMES = {*ALONE, *(one.name for one in CASES)}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_it_can_be_planted(bug: Bug) -> None:
    ast.parse(bug.planted((REPOSITORY / bug.file).read_text()))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_what_is_to_find_it_is_there(bug: Bug) -> None:
    if bug.finder.kind == "case":
        assert bug.finder.name in NAMES
        return
    path, _, function = bug.finder.argv[-1].partition("::")
    tree = ast.parse((REPOSITORY / path).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not function or function.partition("[")[0] in names


def test_names_tell_them_apart() -> None:
    assert len(BUGS) >= 15
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_a_text_that_is_not_there_once_is_an_error() -> None:
    bug = Bug("none", "a.py", "x", "y", case("none"), "")
    assert bug.planted("axb") == "ayb"
    for text in ("ab", "axxb"):
        with pytest.raises(ValueError, match=r"times in a\.py"):
            bug.planted(text)


def test_the_table_says_what_was_not_found() -> None:
    bug = Bug("none", "a.py", "x", "y", case("some case"), "")
    lines = list(table([Verdict(bug.finder, None, True), Verdict(bug.finder, bug, True)]))
    assert lines[2:] == ["| none | a.py | case: some case |"]
    assert "**not found**" in list(table([Verdict(bug.finder, bug, False)]))[-1]
