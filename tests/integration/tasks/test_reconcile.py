"""Nodes against tables: deletions are finished, keys pushed, differences reported, silent nodes replaced."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.diagnosis import Trouble, ailments
from lifecycle.events import history
from lifecycle.operations import Verb
from lifecycle.slices import find, slivers
from models.states import Outcome
from nodemgr.happenings import Happening
from rpc.credentials import Credentials
from tasks.canary import canary_all
from tasks.reconcile import reconcile_all
from tasks.sweep import recover
from testbed.simulation.population import SimulatedNode
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from trust.documents import DelegationKind
from trust.sshkeys import new_ssh_key_pair

KEY = new_ssh_key_pair("one")[1]
LEASE = "SELECT v.generation, v.lease, v.expires_at FROM svm.sliver v WHERE v.node = :n AND v.lease IS NOT NULL"


@pytest.fixture(autouse=True)
def _no_findings(farm: Farm) -> Iterator[None]:
    farm.execute("DELETE FROM svm.finding")
    yield
    farm.execute("DELETE FROM svm.node")


def reconciled(farm: Farm) -> None:
    """A whole round."""
    reconcile_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL"))


def reported(farm: Farm) -> list[tuple[str, str]]:
    return farm.rows("SELECT slice_name, what FROM svm.finding ORDER BY node, slice_name, what")


def first(farm: Farm, name: str) -> tuple[str, SimulatedNode]:
    """The slice's first node: its address and itself."""
    address = next(iter(farm.states(name)))
    (found,) = [one for one in farm.lab.population.nodes if one.row.address == address]
    return address, found


def test_a_deletion_is_finished_when_the_node_is_back(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node = next(iter(farm.states(name)))
    farm.fault(node, "refuse")
    farm.run(Verb.DELETESLICE, name, owner)
    reconciled(farm)
    assert list(farm.on_nodes(name)) == [node]
    assert farm.rows("SELECT silent_since IS NOT NULL AS silent FROM svm.node WHERE node = :n", n=node) == [(True,)]
    farm.fault(node, "ok")
    reconciled(farm)
    assert farm.on_nodes(name) == {}
    assert farm.rows("SELECT state FROM svm.slice WHERE name = :n", n=name) == [("deleted",)]
    assert reported(farm) == []


def test_keys_that_a_node_missed_are_pushed(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node = next(iter(farm.states(name)))
    farm.fault(node, "refuse")
    farm.run(Verb.ADDKEY, name, owner, keys=(KEY,))
    farm.fault(node, "ok")
    reconciled(farm)
    leases = [one.node.store.lease(name) for one in farm.lab.population.nodes]
    assert [len(lease.keys) for lease in leases if lease] == [1] * 4


def test_a_renewal_that_a_node_has_lost_is_made_again(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node, found = first(farm, name)
    before = found.node.store.lease(name)
    assert before
    farm.run(Verb.RENEWSLICE, name, owner)
    found.node.store.put(before)  # as an old copy of its database has it
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconciled(farm)
    after = found.node.store.lease(name)
    assert after
    assert after.generation == 3
    assert farm.rows(LEASE, n=node) == [(3, after.token, after.expires_at)]


def test_a_renewal_whose_answer_was_lost_is_learned_of(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node, found = first(farm, name)
    farm.fault(node, "lose-answer")
    farm.run(Verb.RENEWSLICE, name, owner)
    farm.fault(node, "ok")
    there = found.node.store.lease(name)
    assert there
    assert farm.rows(LEASE, n=node)[0].generation == 1
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconciled(farm)
    assert found.node.store.lease(name) == there
    assert farm.rows(LEASE, n=node) == [(2, there.token, there.expires_at)]


def test_a_renewal_that_a_step_will_make_again_is_left_to_it(farm: Farm, owner: Credentials) -> None:
    """Its worker died between the node's answer and the record: learned of beside it, it would be made once more."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node, found = first(farm, name)
    farm.fault(node, "lose-answer")
    operation = farm.run(Verb.RENEWSLICE, name, owner).id
    farm.fault(node, "ok")
    farm.execute(
        "UPDATE svm.operation SET outcome = NULL, ended_at = NULL, open_steps = 1, in_flight = 1 WHERE id = :id",
        id=operation,
    )
    farm.execute(
        """UPDATE svm.step SET state = 'running', claim_token = gen_random_uuid(), ended_at = NULL,
               claim_until = now() + interval '1 hour' WHERE operation = :id AND node = :n""",
        id=operation,
        n=node,
    )
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconciled(farm)
    assert farm.rows(LEASE, n=node)[0].generation == 1
    farm.execute(
        "UPDATE svm.step SET claim_until = now() - interval '1 second' WHERE operation = :id AND node = :n",
        id=operation,
        n=node,
    )
    recover(again=0)
    farm.ended(operation)
    there = found.node.store.lease(name)
    assert there
    assert there.generation == 2
    assert farm.rows(LEASE, n=node) == [(2, there.token, there.expires_at)]


def test_what_is_there_again_after_its_deletion_is_reported(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    _, found = first(farm, name)
    before = found.node.store.lease(name)
    assert before
    farm.run(Verb.DELETESLICE, name, owner)
    found.node.store.put(before)  # as an old copy of its database has it
    reconciled(farm)  # the first round since its ticket
    assert reported(farm) == [(name, "orphan")]
    found.node.store.forget(before, found.node.now())
    farm.lab.run(found.node.remove(name))


def test_orphans_and_missing_slivers_are_reported_and_left_alone(farm: Farm, owner: Credentials) -> None:
    lost, gone = slice_name(), slice_name()
    farm.run(Verb.CREATESLICE, lost, owner)
    farm.run(Verb.CREATESLICE, gone, owner)
    reconciled(farm)
    _, found = first(farm, gone)
    lease = found.node.store.lease(gone)
    assert lease
    with found.node.store.transaction():
        found.node.store.forget(lease, found.node.now())
    farm.execute("DELETE FROM svm.slice WHERE name = :n", n=lost)
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconciled(farm)
    assert (gone, "missing") in reported(farm)
    assert (lost, "orphan") in reported(farm)
    assert set(farm.on_nodes(lost).values()) == {"running"}
    for one in farm.lab.population.nodes:  # what the test has left behind
        left = one.node.store.lease(lost)
        if left:
            with one.node.store.transaction():
                one.node.store.forget(left, one.node.now())
            farm.lab.run(one.node.remove(lost))


def test_a_silent_node_is_replaced_where_that_is_wanted(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    farm.run(Verb.ADDKEY, name, owner, keys=(KEY,))
    standing = farm.given(owner, name, DelegationKind.STANDING, heal=True)
    farm.run(Verb.HEAL, name, owner, heal=True, standing=standing)
    farm.execute("UPDATE svm.slice SET working_until = now() WHERE name = :n", n=name)
    node = next(iter(farm.states(name)))
    farm.fault(node, "refuse")
    reconciled(farm)
    farm.execute("UPDATE svm.node SET silent_since = now() - interval '1 day' WHERE node = :n", n=node)
    reconcile_all()
    ((operation,),) = farm.rows("SELECT id FROM svm.operation WHERE slice_name = :n AND verb = 'replace'", n=name)
    ended = farm.ended(operation)
    assert (ended.outcome, ended.ok) == (Outcome.DONE, 1)
    states = farm.states(name)
    assert states.pop(node) == "deleting"
    assert list(states.values()) == ["running"] * 4
    leases = {one.row.address: one.node.store.lease(name) for one in farm.lab.population.nodes}
    assert all(lease and len(lease.keys) == 1 for address, lease in leases.items() if address in states)
    reconcile_all()
    assert len(farm.rows("SELECT id FROM svm.operation WHERE slice_name = :n AND verb = 'replace'", n=name)) == 1


def test_a_round_is_not_begun_while_one_is_open(farm: Farm, owner: Credentials) -> None:
    farm.run(Verb.CREATESLICE, slice_name(), owner)
    farm.fault("all", "blackhole")
    reconcile_all()
    reconcile_all()
    assert len(farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL")) == 1
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL"))


def test_the_canary_comes_back(farm: Farm) -> None:
    canary_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'canary' AND ended_at IS NULL"))
    assert farm.rows("SELECT DISTINCT outcome FROM svm.operation WHERE verb = 'canary'") == [("done",)]


def stopped(farm: Farm, owner: Credentials) -> tuple[str, str, SimulatedNode]:
    """A slice with a key, and its first node, where the VM has ended by itself and a round has seen it."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    farm.run(Verb.ADDKEY, name, owner, keys=(KEY,))
    node, found = first(farm, name)
    lease = found.node.store.lease(name)
    assert lease
    found.node.store.put(replace(lease, state="leased"))
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 hour'")
    reconciled(farm)
    return name, node, found


def ailing(farm: Farm, owner: Credentials) -> list[tuple[str, Trouble]]:
    with farm.database.connect() as connection:
        return [(found.node, found.what) for found in ailments(connection, owner.identity)]


def test_a_vm_that_has_ended_by_itself_is_said_and_newvms_starts_it_again(farm: Farm, owner: Credentials) -> None:
    name, node, found = stopped(farm, owner)
    assert farm.states(name) == {other: "stopped" if other == node else "running" for other in farm.states(name)}
    assert ailing(farm, owner) == [(node, Trouble.STOPPED)]
    with farm.database.connect() as connection:
        row = find(connection, name, owner.identity)
        assert "its VM ended by itself, " in str(slivers(connection, row.id)[0].last_error)
        assert any(f"svm start {name} {node}" in str(event.reason) for event, _ in history(connection, row.id))
    assert reported(farm) == []
    made = farm.run(Verb.NEWVMS, name, owner)
    assert (made.outcome, made.ok) == (Outcome.DONE, 1)
    assert set(farm.states(name).values()) == {"running"}
    assert ailing(farm, owner) == []
    lease = found.node.store.lease(name)
    assert lease
    assert (lease.state, len(lease.keys)) == ("running", 1)


def told(farm: Farm, owner: Credentials, name: str) -> list[str]:
    with farm.database.connect() as connection:
        events = history(connection, find(connection, name, owner.identity).id)
    return [str(event.reason) for event, _ in events if "its boot" in str(event.reason)]


def test_what_happened_in_a_vm_is_in_its_slice_s_history_once(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node, found = first(farm, name)
    lease = found.node.store.lease(name)
    assert lease
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    found.node.happenings.note(lease.slice_id, Happening(moment, "its boot began"))
    for _ in range(2):
        reconciled(farm)
        assert told(farm, owner, name) == [f"{node}: its boot began, 2026-01-02 03:04:05 UTC"]
    found.node.happenings.note(lease.slice_id, Happening(moment + timedelta(seconds=1), "its boot ended well"))
    reconciled(farm)
    assert sorted(told(farm, owner, name))[1:] == [f"{node}: its boot ended well, 2026-01-02 03:04:06 UTC"]
    farm.run(Verb.DELETESLICE, name, owner)


def test_a_renewal_does_not_hide_that_a_vm_has_ended(farm: Farm, owner: Credentials) -> None:
    name, node, _ = stopped(farm, owner)
    assert farm.run(Verb.RENEWSLICE, name, owner).ok == 4
    assert ailing(farm, owner) == [(node, Trouble.STOPPED)]
    (row,) = farm.rows("SELECT last_error FROM svm.sliver WHERE node = :n AND died_at IS NOT NULL", n=node)
    assert "ended by itself" in row.last_error


def test_a_vm_that_has_only_just_been_made_is_not_called_ended(farm: Farm, owner: Credentials) -> None:
    name, node, found = stopped(farm, owner)
    farm.run(Verb.NEWVMS, name, owner)
    lease = found.node.store.lease(name)
    assert lease
    found.node.store.put(replace(lease, state="leased"))
    reconciled(farm)
    assert farm.states(name)[node] == "running"
    found.node.store.put(lease)
