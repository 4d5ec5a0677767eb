"""What one owner can keep from the others, by tickets that are never used; and what a service manager is promised."""

import pytest
from sqlalchemy import update

from agent.places import Bounds
from models import agent as tables
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import SLOTS, Lab, slice_name
from tests.integration.agent.test_tickets import ask, give_back, open_tickets
from trust.errors import Code, Refusal

NODES = 6


async def test_however_often_one_name_asks_it_takes_one_place_of_a_node(lab: Lab, as_pi: Session) -> None:
    name = slice_name()
    async with lab.session(lab.user()) as greedy:
        taken = [await ask(lab, greedy, name, NODES) for _ in range(SLOTS + 1)]
        assert len({found.slice_id for found in taken}) == 1
        for _ in range(SLOTS - 1):
            await give_back(lab, as_pi, await ask(lab, as_pi, slice_name(), NODES))
        for found in taken:
            await give_back(lab, greedy, found)


async def test_a_name_that_is_asked_for_again_needs_no_second_place(lab: Lab, as_pi: Session) -> None:
    """Its answer was lost, say, and its owner wants it under another Idempotency-Key."""
    address, others = lab.addresses()[3], [lab.user() for _ in range(SLOTS - 1)]
    found = [(as_pi, await ask(lab, as_pi, name := slice_name(), ips=[address]))]
    for owner in others:
        async with lab.session(owner) as session:
            await ask(lab, session, slice_name(), ips=[address])
    with pytest.raises(Refusal) as caught:
        await ask(lab, as_pi, slice_name(), ips=[address])
    assert caught.value.code is Code.TOO_FEW_NODES
    found.append((as_pi, await ask(lab, as_pi, name, ips=[address])))
    assert len({promise.jti for _, one in found for promise in one.promises}) == 2
    lab.end_tickets()


async def test_one_owner_leaves_half_of_all_places_to_the_others(lab: Lab, as_pi: Session) -> None:
    async with lab.session(lab.user()) as greedy:
        taken = [await ask(lab, greedy, slice_name(), NODES) for _ in range(SLOTS // 2)]
        with pytest.raises(Refusal) as caught:
            await ask(lab, greedy, slice_name())
        assert caught.value.code is Code.OVER_CAPACITY
        assert "unused tickets" in caught.value.reason
        await give_back(lab, as_pi, await ask(lab, as_pi, slice_name(), NODES))
        for found in taken:
            await give_back(lab, greedy, found)


async def test_a_slice_on_every_node_is_always_allowed(lab: Lab) -> None:
    object.__setattr__(lab.agent, "bounds", Bounds(200, 1))
    try:
        async with lab.session(lab.user()) as session:
            await give_back(lab, session, await ask(lab, session, slice_name(), NODES))
    finally:
        object.__setattr__(lab.agent, "bounds", Bounds(200, 50))


async def test_a_ticket_that_was_given_back_counts_until_its_node_refuses_it(lab: Lab, as_pi: Session) -> None:
    found = await ask(lab, as_pi, slice_name(), ips=[lab.addresses()[2]])
    (promise,) = found.promises
    await lab.agent_client(as_pi).return_ticket(promise.jti, None)
    await lab.settled_tickets()
    with pytest.raises(Refusal) as caught:
        await lab.node_client(as_pi, promise).redeem(promise.token, None)
    assert caught.value.code is Code.TICKET_EXPIRED


async def test_a_ticket_that_was_given_back_at_a_silent_node_holds_its_place(lab: Lab, as_pi: Session) -> None:
    """Nobody told the node, so it would still take it."""
    found = await ask(lab, as_pi, slice_name())
    with lab.engine.begin() as connection:
        table = tables.ticket
        connection.execute(update(table).where(table.c.jti == found.promises[0].jti).values(node="nobody"))
    before = open_tickets(lab)
    await lab.agent_client(as_pi).return_ticket(found.promises[0].jti, None)
    assert open_tickets(lab) == before
    lab.end_tickets()


async def test_a_plan_is_what_a_request_would_get_and_holds_nothing(lab: Lab, as_pi: Session, pi: Credentials) -> None:
    """Advertised places that are promised to others are not offered to anybody."""
    full, free = lab.addresses()[:2]
    client = lab.agent_client(as_pi)

    async def plan(numnodes: int) -> list[str]:
        found = await client.plan(
            owner=pi.identity, slice=slice_name(), numnodes=numnodes, ips=[full, free], exclude=[]
        )
        return [ad.address for ad in found]

    assert await plan(2) == [full, free]
    before = open_tickets(lab)
    for _ in range(SLOTS):
        await ask(lab, as_pi, slice_name(), ips=[full])
    assert await plan(1) == [free]
    with pytest.raises(Refusal) as caught:
        await plan(2)
    assert (caught.value.code, caught.value.detail["available"]) == (Code.TOO_FEW_NODES, 1)
    assert open_tickets(lab) == before + SLOTS
    lab.end_tickets()
