"""What one owner can keep from the others, by tickets that are never used; and what a service manager is promised."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, select, text, update

from agent import tickets
from agent.places import Bounds, Demand
from agent.tickets import TicketRequest
from models import agent as tables
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import SLOTS, Lab, slice_name
from tests.integration.agent.test_tickets import ask, give_back, open_tickets
from trust.errors import Code, Refusal
from trust.identity import Identity

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


async def test_a_place_that_another_takes_meanwhile_is_not_given_twice(lab: Lab, as_pi: Session) -> None:
    """Whoever chose a node without knowing of the other waits for him, and then takes another."""
    first, second = lab.addresses()[:2]
    for _ in range(SLOTS - 1):
        await ask(lab, as_pi, slice_name(), ips=[first])

    def reserve(connection: Connection, *ips: str) -> str:
        owner = Identity.user(f"{slice_name()}@example.org")
        wanted = TicketRequest(owner, "once", bytes(32), Demand(owner, "demo", 1, ips), 600)
        found = tickets.reserve(connection, wanted, datetime.now(UTC), Bounds(200, 50))
        assert isinstance(found, tickets.Reserved)
        return found.places[0][1].address

    def late() -> str:
        with lab.engine.begin() as connection:
            return reserve(connection, first, second)

    with lab.engine.begin() as connection:
        assert reserve(connection, first) == first
        waiting = asyncio.create_task(asyncio.to_thread(late))
        while not connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            await asyncio.sleep(0.01)
    assert await waiting == second
    lab.end_tickets()
    lab.agent.purge()


async def test_requests_for_other_nodes_do_not_wait(lab: Lab, as_pi: Session) -> None:
    first, second = lab.addresses()[:2]
    with lab.engine.begin() as connection:
        locked = select(tables.ad).where(tables.ad.c.address == first).with_for_update(key_share=True)
        assert connection.execute(locked).one()
        found = await ask(lab, as_pi, slice_name(), ips=[second])
    await give_back(lab, as_pi, found)
