"""Nodes that refuse, hang, lie or lose their answers: that node's line alone says so, and the retry works."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from agent.client import AgentClient, Tickets
from lifecycle.operations import Verb
from models.agent import ticket
from models.states import Outcome
from rpc.credentials import Credentials
from tasks.retry import Patience
from tests.integration.agent.lab import Lab, slice_name
from tests.integration.tasks.farm import Farm, until
from trust.errors import Code, Refusal
from trust.sshkeys import new_ssh_key_pair

KEY = new_ssh_key_pair("one")[1]
_JTIS = "SELECT v.jti FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n"

AWAY = {"unreachable", "timeout"}
FAULTS = {
    "refuse": AWAY,
    "blackhole": AWAY,
    "reset": AWAY | {"wrong-certificate"},  # the handshake broke off
    "lose-answer": AWAY,
    "over-capacity": {"over-capacity"},
    "wrong-cert": {"wrong-certificate"},
}


def test_each_fault_is_its_nodes_alone_and_the_retry_works(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    broken = dict(zip(lab.addresses(), FAULTS, strict=False))
    for node, fault in broken.items():
        farm.fault(node, fault)
    created = farm.run(Verb.CREATESLICE, name, owner, numnodes=8)
    assert (created.outcome, created.ok, created.failed) == (Outcome.PARTIAL, 2, 6)
    errors = farm.errors(created.id)
    assert errors.keys() == broken.keys()
    assert [(fault, errors[node]) for node, fault in broken.items() if errors[node] not in FAULTS[fault]] == []
    assert {node: state for node, state in farm.states(name).items() if node in broken} == dict.fromkeys(
        broken, "ticketed"
    )
    farm.fault("all", "ok")
    assert farm.run(Verb.NEWLEASES, name, owner, nodes=tuple(broken)).ok == 6
    assert farm.run(Verb.NEWVMS, name, owner).ok == 6
    assert set(farm.on_nodes(name).values()) == {"running"}
    assert len(farm.on_nodes(name)) == 8


@pytest.mark.parametrize("verb", [Verb.ADDKEY, Verb.RENEWSLICE, Verb.DELETESLICE])
def test_a_lost_answer_and_then_the_command_again(farm: Farm, owner: Credentials, verb: Verb) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node = next(iter(farm.states(name)))
    farm.fault(node, "lose-answer")
    keys = (KEY,) if verb is Verb.ADDKEY else ()
    first = farm.run(verb, name, owner, keys=keys)
    assert (first.outcome, list(farm.errors(first.id))) == (Outcome.PARTIAL, [node])
    farm.fault(node, "ok")
    again = farm.run(verb, name, owner, keys=keys)
    assert (again.outcome, again.failed) == (Outcome.DONE, 0)
    if verb is Verb.RENEWSLICE:
        held = {one.row.address: one.node.store.lease(name) for one in farm.lab.population.nodes}
        rows = farm.rows(
            "SELECT v.node, v.generation, v.lease FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice "
            "WHERE x.name = :n",
            n=name,
        )
        for row in rows:
            lease = held[row.node]
            assert lease
            assert (lease.generation, lease.token) == (row.generation, row.lease)


def test_a_node_that_comes_back_while_it_is_tried_again(
    farm: Farm, owner: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, worker = slice_name(), farm.process.worker_context
    monkeypatch.setattr(worker, "policy", replace(worker.policy, patience=Patience(times=20, seconds=50)))
    farm.run(Verb.NEWTICKETS, name, owner)
    node = next(iter(farm.states(name)))
    farm.fault(node, "refuse")
    started = farm.start(Verb.NEWLEASES, name, owner)
    until(lambda: farm.rows("SELECT 1 FROM svm.step WHERE operation = :o AND tries > 0", o=started.operation))
    farm.fault(node, "ok")
    ended = farm.ended(started.operation)
    assert (ended.outcome, ended.ok) == (Outcome.DONE, 4)
    assert {e.code for e in farm.events(started.operation, "step") if e.code} == {"unreachable"}


def test_the_window_goes_on_while_a_node_hangs(farm: Farm, owner: Credentials) -> None:
    """One slot, one node that takes its time: the others end all the same."""
    name = slice_name()
    farm.fault("all", "ok")
    farm.run(Verb.NEWTICKETS, name, owner)
    farm.fault(next(iter(farm.states(name))), "refuse")
    ended = farm.run(Verb.NEWLEASES, name, owner, parallelism=1)
    assert (ended.ok, ended.failed) == (3, 1)


def test_a_ticket_that_ran_out(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.NEWTICKETS, name, owner)
    node = next(iter(farm.states(name)))
    farm.execute(
        "UPDATE svm.sliver SET expires_at = now() - interval '1 s' WHERE node = :node AND state = 'ticketed'", node=node
    )
    ended = farm.run(Verb.NEWLEASES, name, owner)
    assert (ended.ok, farm.errors(ended.id)) == (3, {node: "ticket-expired"})
    (event,) = [e for e in farm.events(ended.id) if not e.ok]
    assert "svm createslice" in (event.reason or "")
    again = farm.run(Verb.CREATESLICE, name, owner)
    assert again.outcome is Outcome.DONE
    assert sorted(farm.states(name).values()).count("running") == 4


def test_replacement_of_a_node_that_fails(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    wanted = tuple(lab.addresses()[:6])
    farm.fault(wanted[0], "wrong-cert")
    created = farm.run(Verb.CREATESLICE, name, owner, ips=wanted, replace=True)
    assert (created.outcome, created.ok, created.failed) == (Outcome.DONE, 4, 0)
    assert farm.states(name)[wanted[0]] == "deleting"
    assert farm.states(name)[wanted[4]] == "running"


def test_delete_of_an_unreached_node_is_finished_later(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    node = next(iter(farm.states(name)))
    farm.fault(node, "refuse")
    first = farm.run(Verb.DELETESLICE, name, owner)
    assert (first.outcome, farm.errors(first.id)) == (Outcome.PARTIAL, {node: "unreachable"})
    (event,) = [e for e in farm.events(first.id) if not e.ok]
    assert "the node itself ends the sliver after" in (event.reason or "")
    farm.fault(node, "ok")
    assert farm.run(Verb.DELETESLICE, name, owner).outcome is Outcome.DONE
    assert farm.on_nodes(name) == {}


def test_the_agent_does_not_answer(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    known = farm.process.worker_context.directory
    worker_context = farm.process.worker_context
    try:
        from plc.client import PLC, AgentEntry, Directory

        gone = Directory(PLC, "", svmd=None, svm=None, agents=(AgentEntry("agent", "https://127.0.0.1:9"),))
        worker_context.directory = lambda: gone
        ended = farm.run(Verb.CREATESLICE, name, owner)
        assert (ended.outcome, ended.code) == (Outcome.FAILED, "unreachable")
    finally:
        worker_context.directory = known
    assert farm.run(Verb.CREATESLICE, name, owner).outcome is Outcome.DONE


def test_without_a_delegation_nothing_is_done(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    farm.run(Verb.NEWTICKETS, name, owner)
    farm.execute("UPDATE svm.slice SET working_until = now() WHERE name = :n", n=name)
    started = farm.rows("SELECT id FROM svm.slice WHERE name = :n", n=name)
    assert started
    from lifecycle.operations import OperationRequest, start
    from tasks.publish import publish

    with farm.database.begin() as connection:
        begun = start(connection, OperationRequest(Verb.NEWLEASES, name, owner.identity))
    publish(begun.publish)
    ended = farm.ended(begun.operation)
    assert set(farm.errors(ended.id).values()) == {"not-allowed"}
    assert farm.on_nodes(name) == {}
    assert lab


def test_tickets_whose_answer_was_lost_for_good_are_those_of_the_next_try(
    farm: Farm, owner: Credentials, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, issue = slice_name(), AgentClient.tickets

    async def lost(*args: Any, **named: Any) -> Tickets:
        await issue(*args, **named)
        raise Refusal(Code.UNREACHABLE, "the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(AgentClient, "tickets", lost)
        assert farm.run(Verb.NEWTICKETS, name, owner).code == Code.UNREACHABLE
    assert farm.run(Verb.NEWTICKETS, name, owner).ok == 4
    with lab.engine.connect() as agent:
        issued = list(agent.scalars(select(ticket.c.jti).where(ticket.c.slice == name, ticket.c.state == "issued")))
    assert sorted(issued) == sorted(row.jti for row in farm.rows(_JTIS, n=name))
