"""Drained nodes in whose place slices that heal get others: the old slivers stay until the new ones run."""

from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from agent.drains import replace
from lifecycle.events import history
from lifecycle.operations import Operation, Verb
from lifecycle.slices import find
from models import agent as tables
from models.states import Outcome
from plc.client.orders import Drain
from rpc.credentials import Credentials
from tasks.reconcile import reconcile_all
from testbed.simulation.population import SimulatedNode
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from trust.documents import DelegationKind


@pytest.fixture(autouse=True)
def _as_it_was(farm: Farm) -> Iterator[None]:
    yield
    for one in farm.lab.population.nodes:
        one.node.orders.drain = None
    farm.execute("DELETE FROM svm.node")
    with farm.lab.engine.begin() as connection:
        connection.execute(delete(tables.drain))


def healing(farm: Farm, owner: Credentials, numnodes: int = 3) -> tuple[str, list[str]]:
    """A slice that heals, and its nodes."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, numnodes=numnodes)
    standing = farm.given(owner, name, DelegationKind.STANDING, heal=True)
    farm.run(Verb.HEAL, name, owner, heal=True, standing=standing)
    return name, list(farm.states(name))


def at(farm: Farm, address: str) -> SimulatedNode:
    (found,) = [one for one in farm.lab.population.nodes if one.row.address == address]
    return found


def emptied(farm: Farm, *addresses: str, replaces: bool = True) -> None:
    """What nodes and their agent have heard of plc: these are drained, and no others."""
    drains = {}
    for one in farm.lab.population.nodes:
        one.node.orders.drain = None
    for address in addresses:
        one = at(farm, address)
        drains[one.row.name] = one.node.orders.drain = Drain(one.row.name, "new disk", True, None, replaces)
    with farm.lab.engine.begin() as connection:
        replace(connection, drains)


def reconciled(farm: Farm) -> None:
    """A whole round from now on: while one is open no other begins, and it may have passed by what changed since."""
    none_open(farm)
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconcile_all()
    none_open(farm)


def none_open(farm: Farm) -> None:
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL"))


def moved(farm: Farm, name: str) -> list[Operation]:
    """A round that asks all nodes, and one that acts on what they said; the replacements that came of it, ended."""
    reconciled(farm)
    reconcile_all()
    query = "SELECT id FROM svm.operation WHERE slice_name = :n AND verb = 'replace' ORDER BY started_at"
    found = farm.rows(query, n=name)
    return [farm.ended(row.id) for row in found]


def again(farm: Farm) -> None:
    """As if the last try were a quarter of an hour ago."""
    farm.execute("UPDATE svm.operation SET ended_at = ended_at - interval '1 day' WHERE verb = 'replace'")


def test_a_slice_that_heals_moves(farm: Farm, owner: Credentials) -> None:
    name, (old, *others) = healing(farm, owner)
    emptied(farm, old)
    (operation,) = moved(farm, name)
    assert (operation.outcome, operation.ok) == (Outcome.DONE, 1)
    states = farm.states(name)
    assert states.pop(old) == "deleting"
    assert states == dict.fromkeys(states, "running")
    assert len(states) == 3
    with farm.database.connect() as connection:
        told = [event.reason for event, _ in history(connection, find(connection, name, owner.identity).id)]
    assert f"drained (new disk): {old}" in told
    reconciled(farm)
    assert farm.on_nodes(name) == dict.fromkeys(states, "running")
    assert at(farm, old).node.store.lease(name) is None
    assert farm.rows("SELECT 1 FROM svm.sliver WHERE replaces IS NOT NULL") == []
    assert set(others) < set(states)


def test_nothing_moves_that_does_not_heal_or_where_none_is_to_be_replaced(farm: Farm, owner: Credentials) -> None:
    name, kept = slice_name(), healing(farm, owner)
    farm.run(Verb.CREATESLICE, name, owner, ips=(kept[1][0],), numnodes=1)
    emptied(farm, kept[1][0], replaces=False)
    assert moved(farm, kept[0]) == []
    emptied(farm, kept[1][0])
    assert moved(farm, name) == []
    assert farm.states(name) == {kept[1][0]: "running"}
    moved(farm, kept[0])


def test_the_old_one_stays_while_there_is_no_other(farm: Farm, owner: Credentials) -> None:
    name, (old, *others) = healing(farm, owner)
    emptied(farm, *(one.row.address for one in farm.lab.population.nodes if one.row.address not in others))
    (operation,) = moved(farm, name)
    assert operation.outcome is Outcome.FAILED
    assert farm.states(name) == dict.fromkeys((old, *others), "running")
    emptied(farm, old)
    assert len(moved(farm, name)) == 1  # tried again in a while
    again(farm)
    assert moved(farm, name)[-1].outcome is Outcome.DONE
    assert farm.states(name)[old] == "deleting"


def test_a_successor_that_fails_gives_way_to_the_next(farm: Farm, owner: Credentials) -> None:
    """And the old one stays until one runs."""
    name, (old, *others) = healing(farm, owner)
    farm.fault("all", "refuse")
    for address in (old, *others):
        farm.fault(address, "ok")

    def replaced() -> Outcome | None:
        """As beat asks for it, but with the patience of somebody who waits."""
        return farm.run(Verb.REPLACE, name, owner, nodes=(old,), replace=True, stays=True).outcome

    assert replaced() is Outcome.FAILED
    states = farm.states(name)
    assert states[old] == "running"
    assert {state for address, state in states.items() if address not in (old, *others)} == {"ticketed", "deleting"}
    (last,) = farm.rows("SELECT node FROM svm.sliver WHERE replaces = :n AND state = 'ticketed'", n=old)
    farm.fault("all", "ok")
    assert replaced() is Outcome.DONE
    states = farm.states(name)
    assert (states[old], states[last.node]) == ("deleting", "running")
    assert list(states.values()).count("running") == 3
