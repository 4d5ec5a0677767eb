"""Renewals on real nodes: one that grants less says so, one that fails leaves its lease whole, none shortens."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.operations import Verb
from models.states import Outcome
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab, slice_name
from tests.integration.tasks.farm import Farm


def leases(farm: Farm, name: str) -> dict[str, tuple[int, datetime]]:
    """Node to generation and end, as svmd has them."""
    query = """SELECT v.node, v.generation, v.expires_at FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
               WHERE x.name = :n"""
    return {row.node: (row.generation, row.expires_at) for row in farm.rows(query, n=name)}


def on_node(lab: Lab, address: str, name: str) -> Any:
    """The lease in the node's own store."""
    return lab.node(address).node.store.lease(name)


def test_a_node_that_grants_less_says_so(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    mean, *_ = lab.addresses()
    node = lab.node(mean).node
    before, node.capacity = node.capacity, replace(node.capacity, longest=600)
    try:
        farm.run(Verb.CREATESLICE, name, owner, numnodes=2, ips=lab.addresses()[:2])
        renewed = farm.run(Verb.RENEWSLICE, name, owner)
    finally:
        node.capacity = before
    assert renewed.ok == 2
    assert {event.node: event.detail["short"] for event in farm.events(renewed.id)} == {
        mean: True,
        lab.addresses()[1]: False,
    }
    assert leases(farm, name)[mean][1] < datetime.now(UTC) + timedelta(seconds=601)


def test_less_than_what_is_left_never_shortens(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    mean, *_ = lab.addresses()
    farm.run(Verb.CREATESLICE, name, owner, numnodes=1, ips=(mean,))
    ((_, end),) = leases(farm, name).values()
    node = lab.node(mean).node
    before, node.capacity = node.capacity, replace(node.capacity, longest=600)
    try:
        assert farm.run(Verb.RENEWSLICE, name, owner).ok == 1
    finally:
        node.capacity = before
    assert leases(farm, name) == {mean: (2, end)}
    assert on_node(lab, mean, name).expires_at == end


def test_a_failed_renewal_leaves_the_old_lease_whole(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    bad, good, *_ = lab.addresses()
    farm.run(Verb.CREATESLICE, name, owner, numnodes=2, ips=(bad, good))
    before, held = leases(farm, name), on_node(lab, bad, name)
    farm.fault(bad, "refuse")
    renewed = farm.run(Verb.RENEWSLICE, name, owner)
    assert (renewed.outcome, renewed.ok, list(farm.errors(renewed.id))) == (Outcome.PARTIAL, 1, [bad])
    assert leases(farm, name)[bad] == before[bad]
    assert leases(farm, name)[good][0] == 2
    assert on_node(lab, bad, name) == held
    assert farm.states(name) == {bad: "running", good: "running"}
    farm.fault(bad, "ok")
    assert farm.run(Verb.RENEWSLICE, name, owner).ok == 2
