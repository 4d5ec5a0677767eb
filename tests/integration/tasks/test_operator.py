"""What plc's operator does to nodes and slivers, as svmd sees it: in status and history, at the next createslice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import delete

from agent.drains import replace
from lifecycle import known, slices
from lifecycle.events import history
from lifecycle.operations import Verb
from models import agent as tables
from models.states import Outcome
from nodemgr.orders import obey
from plc.client import PLC
from plc.client.orders import Drain
from rpc.credentials import Credentials
from tasks.clean import clean
from tasks.reconcile import reconcile_all
from testbed.simulation.population import SimulatedNode
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from trust.identity import Identity
from trust.orders import new_order


@pytest.fixture(autouse=True)
def _as_it_was(farm: Farm) -> Iterator[None]:
    farm.execute("DELETE FROM svm.finding")
    yield
    farm.execute("DELETE FROM svm.node")
    with farm.lab.engine.begin() as connection:
        connection.execute(delete(tables.drain))


def reconciled(farm: Farm) -> None:
    """A whole round, of slivers that have not changed for a while."""
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconcile_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL"))


def removed(farm: Farm, name: str, address: str, node: Identity | None, slice_id: UUID) -> None:
    """By an order that the node has found good (tests/integration/nodemgr/test_orders.py)."""
    now = datetime.now(UTC)
    made = new_order(PLC, node, name, slice_id, "abuse of the network", now, now + timedelta(days=1))
    farm.lab.run(obey(at(farm, address).node, lambda _: None, [(made, False)]))


def at(farm: Farm, address: str) -> SimulatedNode:
    (found,) = [one for one in farm.lab.population.nodes if one.row.address == address]
    return found


def slice_id_of(farm: Farm, name: str) -> UUID:
    found: UUID = farm.rows("SELECT slice_id FROM svm.slice WHERE name = :n AND state = 'open'", n=name)[0][0]
    return found


def test_a_sliver_that_the_operator_removed_shows_as_such(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    address, *others = farm.states(name)
    removed(farm, name, address, at(farm, address).node.identity, slice_id_of(farm, name))
    reconciled(farm)
    assert farm.states(name) == {address: "expired"} | dict.fromkeys(others, "running")
    with farm.database.connect() as connection:
        found = slices.find(connection, name, owner.identity)
        told = {one.node: one.last_error for one in slices.slivers(connection, found.id)}
        events = [event.reason for event, _ in history(connection, found.id)]
    said = "removed by PlanetLab's operator: abuse of the network"
    assert told == {address: said} | dict.fromkeys(others)
    assert f"{address}: {said}" in events
    assert farm.rows("SELECT * FROM svm.finding") == []

    assert farm.run(Verb.CREATESLICE, name, owner).outcome is Outcome.DONE
    assert list(farm.states(name).values()).count("running") == 4


def test_it_is_told_once(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    address = next(iter(farm.states(name)))
    removed(farm, name, address, at(farm, address).node.identity, slice_id_of(farm, name))
    for _ in range(2):
        reconciled(farm)
    with farm.database.connect() as connection:
        found = slices.find(connection, name, owner.identity)
        events = [event for event, _ in history(connection, found.id) if event.reason and "operator" in event.reason]
    assert len(events) == 1


def test_a_slice_that_the_operator_deleted_is_forgotten(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    slice_id = slice_id_of(farm, name)
    for address in farm.states(name):
        removed(farm, name, address, None, slice_id)
    reconciled(farm)
    clean()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"))
    assert farm.rows("SELECT state FROM svm.slice WHERE name = :n", n=name) == [("deleted",)]
    assert farm.on_nodes(name) == {}


def test_createslice_leaves_drained_nodes_out_and_says_so(farm: Farm, owner: Credentials) -> None:
    name, nodes = slice_name(), farm.lab.population.nodes
    gone = nodes[:5]
    with farm.lab.engine.begin() as connection:
        drains = {one.row.name: Drain(one.row.name, "new disk", True, None) for one in gone}
        replace(connection, drains)
    refused = farm.run(Verb.CREATESLICE, name, owner)
    assert refused.outcome is Outcome.FAILED
    assert refused.code == "too-few-nodes"
    assert f"; drained: {gone[0].row.address} (new disk)" in (refused.reason or "")
    assert farm.run(Verb.CREATESLICE, name, owner, numnodes=3).outcome is Outcome.DONE
    assert sorted(farm.states(name)) == sorted(one.row.address for one in nodes[5:])


def test_what_the_tables_know(farm: Farm, owner: Credentials) -> None:
    """For `dslice slices` and `dslice orphans`."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    slice_id, first = slice_id_of(farm, name), at(farm, next(iter(farm.states(name))))
    with farm.database.connect() as connection:
        assert {one["node"] for one in known.known(connection) if one["slice_id"] == str(slice_id)} == {
            at(farm, address).row.name for address in farm.states(name)
        }
        for word in (first.row.name, first.row.address):
            assert name in {one.name for one in slices.everyones(connection, node=word)}
        assert slices.everyones(connection, Identity.user("nobody@example.org")) == []
        assert name in {one.name for one in slices.everyones(connection, owner.identity)}
    reconciled(farm)
    farm.execute("DELETE FROM svm.sliver WHERE node = :n", n=first.row.address)
    reconciled(farm)
    with farm.database.connect() as connection:
        stray = [one for one in known.orphans(connection) if one["slice_id"] == str(slice_id)]
    assert [(one["node"], one["slice"]) for one in stray] == [(first.row.name, name)]
    removed(farm, name, first.row.address, first.node.identity, slice_id)
