"""A node's calls over TLS, as workers make them: by the owner, and by a service manager with his delegation."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from nodemgr.client import NodeClient
from nodemgr.stops import heed_stops, stop_owners
from plc.accounts import OPERATOR
from plc.client import Plc
from plc.deactivation import disable
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import AGENT, SVM, Lab, slice_name
from tests.integration.nodemgr.conftest import KEY_PAIR, Held, Holding
from trust.documents import DelegationKind, Ticket, sign_ticket, verify_lease
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

KEYS = [new_ssh_key_pair(f"user{number}")[1] for number in range(2)]


async def test_the_life_of_a_sliver(lab: Lab, hold: Holding, as_svm: Session, pi: Credentials) -> None:
    held = await hold()
    delegation = lab.delegation(pi, held.slice)
    node = held.client(as_svm)
    lease = await node.redeem(held.promise.token, delegation)
    receipt = verify_lease(lease.token, store=lab.trust)
    assert receipt.issuer == Identity(Role.NODE, held.promise.node)
    assert (receipt.owner, receipt.slice, receipt.slice_id, receipt.generation) == (
        pi.identity,
        held.slice,
        held.slice_id,
        lease.generation,
    )
    assert (await node.get(held.slice)).has_vm is False
    for _ in range(2):
        made = await node.create(held.slice, lease.token, *KEY_PAIR, delegation)
        assert (made.state, made.has_vm, made.owner) == ("running", True, pi.identity.uri)
        assert made.frontdoor == held.promise.frontdoor
    assert await node.set_access(held.slice, held.slice_id, 1, KEYS, delegation) == 1
    renewed = await node.renew(held.slice, held.slice_id, 1, delegation)
    assert (renewed.generation, renewed.expires_at >= lease.expires_at) == (2, True)
    assert await node.renew(held.slice, held.slice_id, 1, delegation) == renewed
    (found,) = [one for one in await node.inventory() if one.slice == held.slice]
    assert (found.generation, found.key_generation, found.expires_at) == (2, 1, renewed.expires_at)
    for _ in range(2):
        await node.delete(held.slice, held.slice_id, held.promise.jti, delegation)
    with pytest.raises(Refusal) as caught:
        await node.get(held.slice)
    assert caught.value.code is Code.NOT_FOUND


async def test_a_ticket_redeemed_many_times_at_once_makes_one_lease(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    leases = await asyncio.gather(*(held.redeem(as_pi) for _ in range(10)))
    assert len({lease.token for lease in leases}) == 1
    made = await asyncio.gather(
        *(held.client(as_pi).create(held.slice, leases[0].token, *KEY_PAIR, None) for _ in range(5))
    )
    assert {one.state for one in made} == {"running"}
    renewals = await asyncio.gather(*(held.client(as_pi).renew(held.slice, held.slice_id, 1, None) for _ in range(10)))
    assert {one.generation for one in renewals} == {2}


async def test_a_slivers_end_is_its_nodes_alone(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold(leaselen=1)
    await held.run(as_pi)
    node = lab.node(held.promise.address).node
    for _ in range(200):
        if node.store.lease(held.slice) is None and not node.store.removals():
            break
        await asyncio.sleep(0.05)
    assert lab.run(node.driver.list()) == {}


async def test_the_standing_delegation_renews_and_does_nothing_else(
    lab: Lab, hold: Holding, as_pi: Session, as_svm: Session, pi: Credentials
) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    node = held.client(as_svm)
    standing = lab.delegation(pi, held.slice, kind=DelegationKind.STANDING)
    assert (await node.renew(held.slice, held.slice_id, lease.generation, standing)).generation == 2
    for call in (
        node.redeem(held.promise.token, standing),
        node.create(held.slice, lease.token, *KEY_PAIR, standing),
        node.set_access(held.slice, held.slice_id, 1, KEYS, standing),
        node.delete(held.slice, held.slice_id, held.promise.jti, standing),
    ):
        with pytest.raises(Refusal) as caught:
            await call
        assert caught.value.code is Code.NOT_ALLOWED


async def test_a_ticket_of_an_agent_that_the_node_does_not_know(
    lab: Lab, hold: Holding, as_pi: Session, pi: Credentials
) -> None:

    held = await hold()
    now = datetime.now(UTC).replace(microsecond=0)

    def ticket(issuer: Identity) -> str:
        signer = lab.credentials(issuer)
        made = Ticket(
            issuer=issuer,
            node=Identity(Role.NODE, held.promise.node),
            owner=pi.identity,
            slice=held.slice,
            slice_id=held.slice_id,
            jti=str(uuid4()),
            leaselen=60,
            issued_at=now,
            expires_at=now + timedelta(seconds=600),
        )
        return sign_ticket(made, signer.key, signer.certificate)

    for issuer in (Identity(Role.AGENT, "unknown"), Identity(Role.NODE, "s1")):
        with pytest.raises(Refusal) as caught:
            await held.client(as_pi).redeem(ticket(issuer), None)
        assert caught.value.code is Code.NOT_ALLOWED
    assert (await held.client(as_pi).redeem(ticket(AGENT), None)).generation == 1


async def test_bodies_that_make_no_sense(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    await held.redeem(as_pi)
    url, expect = held.promise.api, Identity(Role.NODE, held.promise.node)
    path = f"/slivers/{held.slice}"
    bodies: list[tuple[str, str, object]] = [
        ("POST", "/leases", {}),
        ("POST", "/leases", {"ticket": 7}),
        ("POST", "/leases", {"ticket": "x" * 9000}),
        ("POST", "/leases", {"ticket": "a.b.c"}),
        ("POST", "/leases", {"ticket": "a.b.c", "more": 1}),
        ("PUT", path, {"lease": "x"}),
        ("PUT", f"{path}/access", {"slice_id": str(held.slice_id), "generation": -1, "keys": []}),
        ("PUT", f"{path}/access", {"slice_id": str(held.slice_id), "generation": "1", "keys": []}),
        ("PUT", f"{path}/access", {"slice_id": str(held.slice_id), "generation": 1, "keys": ["nonsense"]}),
        ("PUT", f"{path}/access", {"slice_id": "x", "generation": 1, "keys": []}),
        ("POST", f"{path}/renew", {"slice_id": str(held.slice_id), "from_generation": 0}),
        ("POST", f"{path}/renew", {"slice_id": str(held.slice_id), "from_generation": 2**40}),
        ("DELETE", path, {"slice_id": str(held.slice_id), "jti": "../x"}),
        ("DELETE", path, {}),
    ]
    for method, target, body in bodies:
        with pytest.raises(Refusal) as caught:
            await as_pi.call(method, url + target, expect=expect, json=body)
        assert caught.value.code is Code.BAD_INPUT, (method, target, body)
        assert "\n" not in caught.value.reason
    assert lab.node(held.promise.address).node.store.lease(held.slice) is not None


async def test_a_node_must_be_the_node_that_the_ticket_names(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    for wrong in (Identity(Role.NODE, "s99"), SVM):
        with pytest.raises(Refusal) as caught:
            await NodeClient(as_pi, held.promise.api, wrong).redeem(held.promise.token, None)
        assert caught.value.code is Code.WRONG_CERTIFICATE
    assert lab.node(held.promise.address).node.store.lease(held.slice) is None


async def test_nodes_stop_the_slivers_of_whom_plc_has_stopped(lab: Lab) -> None:
    owner = lab.user()
    async with lab.session(owner) as session:
        name = slice_name()
        found = await lab.agent_client(session).tickets(
            slice=name, numnodes=1, leaselen=600, delegation=None, idempotency_key=name
        )
        held = Held(lab, name, found.slice_id, found.promises[0])
        await held.run(session)
    node = lab.node(held.promise.address).node
    assert node.lookup(name) is not None
    central = lab.bootstrap.central
    with central.begin() as connection:
        now = central.clock.now()
        disable(connection, OPERATOR, owner.identity.name, "a break-in", True, central.settings, now)
    with Plc(lab.plc_url, lab.agent_credentials) as plc:
        heeding = asyncio.run_coroutine_threadsafe(heed_stops(plc.stops, [node], 0.1), lab.loop)
        for _ in range(200):
            if node.stopped:
                break
            await asyncio.sleep(0.05)
        heeding.cancel()
    assert node.stopped == {owner.identity}
    assert node.lookup(name) is None
    lab.loop.call_soon_threadsafe(stop_owners, node, frozenset())
    # What is left of it ends with its lease; here the store is told at once.
    row = node.store.lease(name)
    assert row is not None
    node.store.forget(row, node.now())
