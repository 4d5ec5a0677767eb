"""rekey: a new key pair of the slice's own on every node, however often it has to be asked for."""

from typing import Any

from lifecycle.operations import Verb
from models.states import Outcome
from rpc.credentials import Credentials
from tasks.reconcile import reconcile_all
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm
from trust.documents import DelegationKind

PAIRS = """SELECT x.public_key, x.pair_generation, x.pair_wanted, x.sealed_key, x.id FROM svm.slice x
           WHERE x.name = :n AND x.state = 'open'"""
SLIVERS = """SELECT DISTINCT v.pair_generation FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
             WHERE x.name = :n AND v.state = 'running' ORDER BY 1"""


def pair(farm: Farm, name: str) -> Any:
    (row,) = farm.rows(PAIRS, n=name)
    return row


def on_nodes(farm: Farm, name: str) -> dict[str, tuple[str | None, int]]:
    """Address to the public key and generation that the node's own store has."""
    held = {one.row.address: one.node.store.lease(name) for one in farm.lab.population.nodes}
    return {node: (lease.slice_key, lease.pair_generation) for node, lease in held.items() if lease}


def generations(farm: Farm, name: str) -> list[int]:
    return [row.pair_generation for row in farm.rows(SLIVERS, n=name)]


def again(farm: Farm, name: str) -> None:
    """One round of beat's, after the pause that follows a rekey."""
    farm.execute("UPDATE svm.operation SET ended_at = ended_at - interval '1 day' WHERE slice_name = :n", n=name)
    reconcile_all()
    for row in farm.rows("SELECT id FROM svm.operation WHERE slice_name = :n", n=name):
        farm.ended(row.id)


def test_every_node_gets_the_same_new_pair(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    old = pair(farm, name)
    for number in (1, 2):
        ended = farm.run(Verb.REKEY, name, owner)
        assert (ended.outcome, ended.ok) == (Outcome.DONE, 4)
        new = pair(farm, name)
        assert (new.pair_generation, new.pair_wanted) == (number, number)
        assert set(on_nodes(farm, name).values()) == {(new.public_key, number)}
        assert generations(farm, name) == [number]
        assert new.public_key != old.public_key
        old = new


def test_a_node_that_was_away_is_caught_up_with(farm: Farm, owner: Credentials) -> None:
    """Half done: repeating it mends it, and so does beat by itself."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    away = next(iter(farm.states(name)))
    farm.fault(away, "refuse")
    half = farm.run(Verb.REKEY, name, owner)
    assert (half.outcome, half.ok, half.failed) == (Outcome.PARTIAL, 3, 1)
    assert generations(farm, name) == [0, 1]
    farm.fault(away, "ok")
    again(farm, name)
    assert generations(farm, name) == [1]
    assert set(on_nodes(farm, name).values()) == {(pair(farm, name).public_key, 1)}
    farm.fault(away, "lose-answer")
    farm.run(Verb.REKEY, name, owner)
    farm.fault(away, "ok")
    assert farm.run(Verb.REKEY, name, owner).ok == 4
    assert set(on_nodes(farm, name).values()) == {(pair(farm, name).public_key, 3)}


def test_a_vm_that_is_made_later_gets_the_newest_pair(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.NEWTICKETS, name, owner)
    farm.run(Verb.NEWLEASES, name, owner)
    assert farm.run(Verb.REKEY, name, owner).outcome is Outcome.DONE  # no VM yet
    assert (pair(farm, name).pair_generation, pair(farm, name).pair_wanted) == (0, 1)
    assert farm.run(Verb.NEWVMS, name, owner).ok == 4
    assert set(on_nodes(farm, name).values()) == {(pair(farm, name).public_key, 1)}
    assert generations(farm, name) == [1]


def test_a_replaced_node_opens_no_other(farm: Farm, owner: Credentials) -> None:
    """It had the pair: the others, and the node in its place, get a new one, by the standing delegation alone."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    old = pair(farm, name).public_key
    standing = farm.given(owner, name, DelegationKind.STANDING, heal=True)
    farm.run(Verb.HEAL, name, owner, heal=True, standing=standing)
    gone = next(iter(farm.states(name)))
    farm.fault(gone, "refuse")
    ended = farm.run(Verb.REPLACE, name, owner, nodes=(gone,), replace=True)
    assert ended.ok == 1
    farm.execute("UPDATE svm.slice SET working_until = now() WHERE name = :n", n=name)
    again(farm, name)
    new = pair(farm, name)
    assert new.public_key != old
    held = on_nodes(farm, name)
    assert held.pop(gone) == (old, 0)
    assert set(held.values()) == {(new.public_key, 1)}
    assert len(held) == 4
