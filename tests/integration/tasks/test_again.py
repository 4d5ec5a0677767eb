"""One name, one story: a slice deleted while a node of it was away, and what is done with its name afterwards."""

from collections.abc import Iterator

import pytest

from lifecycle.operations import Verb
from lifecycle.slices import find, owned, slivers
from models.states import Outcome
from rpc.credentials import Credentials
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm
from trust.errors import Code

ALL = 8  # the lab's nodes
LEFT = "SELECT v.state FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n AND v.state <> 'deleted'"


@pytest.fixture(autouse=True)
def _clear(farm: Farm) -> Iterator[None]:
    yield
    farm.execute("DELETE FROM svm.finding")
    farm.execute("DELETE FROM svm.node")


def half_deleted(farm: Farm, owner: Credentials) -> tuple[str, str]:
    """A slice on all nodes, deleted while one of them was away: its name, and that node."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, numnodes=ALL)
    node = next(iter(farm.states(name)))
    farm.fault(node, "refuse")
    deleted = farm.run(Verb.DELETESLICE, name, owner)
    assert (deleted.outcome, deleted.failed) == (Outcome.PARTIAL, 1)
    return name, node


def told(farm: Farm, operation: object) -> str:
    return "\n".join(str(event.reason) for event in farm.events(operation, "note"))  # type: ignore[arg-type]


def registrations(farm: Farm, name: str) -> list[str]:
    return [row.state for row in farm.rows("SELECT state FROM svm.slice WHERE name = :n ORDER BY created_at", n=name)]


def seen(farm: Farm, owner: Credentials, name: str) -> dict[str, int]:
    """What slices and status say of the name: one line, the same in both."""
    with farm.database.connect() as connection:
        (line,) = [one for one in owned(connection, owner.identity) if one.name == name]
        found = find(connection, name, owner.identity)
        states = [sliver.state for sliver in slivers(connection, found.id)]
    counts = {state: number for state, number in line.nodes.items() if state != "deleted"}
    assert counts == {state: states.count(state) for state in states}
    assert (line.id, line.nodes) == (found.id, found.nodes)
    return dict(counts)


def test_a_node_that_is_back_ends_the_old_sliver_and_takes_the_new_one(farm: Farm, owner: Credentials) -> None:
    name, node = half_deleted(farm, owner)
    farm.fault(node, "ok")
    made = farm.run(Verb.CREATESLICE, name, owner, numnodes=ALL)
    assert (made.outcome, made.ok, made.failed) == (Outcome.DONE, ALL, 0), made.reason
    assert f"{node}: its earlier sliver is gone" in told(farm, made.id)
    assert seen(farm, owner, name) == {"running": ALL}
    assert registrations(farm, name) == ["deleted", "open"]


def test_a_node_that_is_still_away_is_named_and_the_others_are_taken(farm: Farm, owner: Credentials) -> None:
    name, node = half_deleted(farm, owner)
    made = farm.run(Verb.CREATESLICE, name, owner, numnodes=ALL - 1)
    assert (made.outcome, made.ok, made.failed) == (Outcome.DONE, ALL - 1, 0), made.reason
    assert f"{node} has an earlier sliver" in told(farm, made.id)
    assert seen(farm, owner, name) == {"running": ALL - 1, "deleting": 1}


def test_too_few_nodes_says_which_places_its_own_old_slivers_hold(farm: Farm, owner: Credentials) -> None:
    name, node = half_deleted(farm, owner)
    made = farm.run(Verb.CREATESLICE, name, owner, numnodes=ALL)
    assert (made.outcome, made.code) == (Outcome.FAILED, Code.TOO_FEW_NODES)
    assert f"{node} may still have an earlier sliver of {name}" in str(made.reason)
    assert seen(farm, owner, name) == {"deleting": 1}


def test_deleteslice_is_about_all_that_is_left_of_the_name(farm: Farm, owner: Credentials) -> None:
    name, node = half_deleted(farm, owner)
    farm.run(Verb.CREATESLICE, name, owner, numnodes=ALL)
    deleted = farm.run(Verb.DELETESLICE, name, owner)
    assert (deleted.outcome, deleted.failed) == (Outcome.FAILED, 1)
    assert f"the name {name} is not free yet: {node} may still have its sliver" in told(farm, deleted.id)
    assert seen(farm, owner, name) == {"deleting": 1}
    farm.fault(node, "ok")
    again = farm.run(Verb.DELETESLICE, name, owner)
    assert (again.outcome, again.ok) == (Outcome.DONE, 1)
    assert f"the name {name} is free again" in told(farm, again.id)
    assert farm.on_nodes(name) == {}
    assert farm.rows(LEFT, n=name) == []
    assert set(registrations(farm, name)) == {"deleted"}


def test_a_half_made_slice_goes_on_beside_what_is_left_of_the_earlier_one(farm: Farm, owner: Credentials) -> None:
    name, node = half_deleted(farm, owner)
    farm.run(Verb.NEWTICKETS, name, owner, numnodes=ALL - 1)
    farm.execute(
        "UPDATE svm.sliver v SET expires_at = now() FROM svm.slice x WHERE x.id = v.slice AND x.state = 'open'"
        " AND x.name = :n AND v.position = 1",
        n=name,
    )
    farm.fault(node, "ok")
    made = farm.run(Verb.CREATESLICE, name, owner, numnodes=ALL - 1)
    assert (made.outcome, made.ok) == (Outcome.DONE, ALL - 1), made.reason
    assert seen(farm, owner, name)["running"] == ALL - 1
    assert registrations(farm, name) == ["deleted", "open"]
