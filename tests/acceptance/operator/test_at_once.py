"""What the operator has nodes do, svmd sees at once: here it looks by itself once an hour."""

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.lab import Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("atonce"))
    made.up(real=0, simulated=3, DSLICE_STOPS_SECONDS="1", DSLICE_RECONCILE_SECONDS="3600")
    try:
        yield made
    finally:
        made.down()


def there(lab: Lab, name: str) -> dict[str, str]:
    """The state of each node of a slice, by the node's name."""
    rows = map(json.loads, lab.dslice("slice", name, "--json").must().lines)
    return {str(row["name"]): str(row["state"]) for row in rows if row["type"] == "row"}


def test_a_move_off_a_drained_node_begins_with_the_order(lab: Lab) -> None:
    lab.svm("createslice", lab.slice_file("moving", 2)).must()
    lab.svm("heal", "moving", "on").must()
    old, other = there(lab, "moving")
    shown = lab.dslice("node", "drain", old, "--replace", "--reason", "new disk").must()
    assert "slices that heal get other nodes now" in shown.err
    until(lambda: list(there(lab, "moving").values()).count("running") == 2 and there(lab, "moving")[old] != "running")
    assert there(lab, "moving")[other] == "running"
    lab.dslice("node", "undrain", old).must()


def test_a_node_is_retired_without_waiting_for_a_round(lab: Lab) -> None:
    first = next(name for name, state in there(lab, "moving").items() if state == "running")
    lab.dslice("node", "retire", first, "--evict", "--reason", "broken").must()
    assert "broken" in lab.dslice("slice", "moving").must().out
    lab.svm("deleteslice", "moving").must()
