"""Which tests stay together, and which begin first (tests/conftest.py)."""

from pathlib import Path

import pytest

from tests.conftest import ALONE, LONGEST, pytest_collection_modifyitems, together

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/unit/svm/test_start.py::test_help", "tests/unit/svm"),
        ("tests/integration/slivers/test_life.py::test_it[machine]", "tests/integration/slivers"),
        ("tests/integration/slivers/test_life.py::test_it[podman-1]", "tests/integration/slivers[podman]"),
        ("tests/acceptance/operator/test_restore.py::test_it", "tests/acceptance/operator/test_restore.py"),
    ],
)
def test_a_folders_tests_stay_together(nodeid: str, scope: str) -> None:
    assert together(nodeid) == scope


def test_what_is_named_is_there() -> None:
    for scope in (*LONGEST, *ALONE):
        assert (ROOT / scope.partition("[")[0]).exists(), scope


def test_the_longest_begin_first_and_nothing_else_moves(request: pytest.FixtureRequest) -> None:
    items = list(reversed(request.session.items))
    before = list(items)
    pytest_collection_modifyitems(items)
    first = [item for item in items if together(item.nodeid) in LONGEST]
    assert items[: len(first)] == sorted(first, key=lambda item: LONGEST.index(together(item.nodeid)))
    assert items[len(first) :] == [item for item in before if item not in first]
