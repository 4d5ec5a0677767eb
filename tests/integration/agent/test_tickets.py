"""Tickets over TLS, with a real plc: all or nothing, in order, once per Idempotency-Key, never oversold."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text, update

from agent import tickets
from agent.client import Tickets
from agent.issuing import digest
from agent.places import Bounds, Demand
from agent.tickets import Reserved, TicketRequest
from models import agent as tables
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import AGENT, SLOTS, Lab, slice_name
from trust.documents import verify_ticket
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

BOUNDS = Bounds(200, 50)


@pytest.fixture(autouse=True)
async def settled(lab: Lab) -> None:
    """What the test before gave back has been burnt by its node, and counts no more."""
    await lab.settled_tickets()


async def ask(lab: Lab, session: Session, slice: str, numnodes: int = 1, **changes: Any) -> Tickets:
    wanted: dict[str, Any] = {
        "slice": slice,
        "numnodes": numnodes,
        "leaselen": 600,
        "delegation": None,
        "idempotency_key": str(uuid4()),
    }
    return await lab.agent_client(session).tickets(**wanted | changes)


async def give_back(lab: Lab, session: Session, found: Tickets, delegation: str | None = None) -> None:
    for promise in found.promises:
        await lab.agent_client(session).return_ticket(promise.jti, delegation)
    await lab.settled_tickets()


def open_tickets(lab: Lab) -> int:
    with lab.engine.connect() as connection:
        open_ = select(func.count()).where(tables.ticket.c.expires_at > datetime.now(UTC))
        return connection.scalar(open_) or 0


def names(lab: Lab) -> set[str]:
    with lab.bootstrap.central.engine.connect() as connection:
        return set(connection.execute(text("SELECT name FROM plc.slice_name WHERE released_at IS NULL")).scalars())


async def test_tickets_are_good_at_their_nodes(lab: Lab, as_pi: Session, pi: Credentials) -> None:
    name = slice_name()
    found = await ask(lab, as_pi, name, 3)
    assert found.agent == AGENT.name
    for promise in found.promises:
        ticket = verify_ticket(promise.token, store=lab.trust, audience=Identity(Role.NODE, promise.node))
        assert (ticket.owner, ticket.slice, ticket.slice_id) == (pi.identity, name, found.slice_id)
        assert (ticket.jti, ticket.leaselen, ticket.issuer) == (promise.jti, 600, AGENT)
        assert promise.address in promise.api
    assert len({promise.node for promise in found.promises}) == 3
    assert name in names(lab)
    await give_back(lab, as_pi, found)


async def test_the_first_available_of_the_list_in_its_order(lab: Lab, as_pi: Session) -> None:
    one, two, three, *_ = lab.addresses()
    found = await ask(lab, as_pi, slice_name(), 2, ips=[three, "10.9.9.9", one, two])
    assert [promise.address for promise in found.promises] == [three, one]
    await give_back(lab, as_pi, found)


async def test_sites_are_taken_in_turn_and_excluded_nodes_are_not(lab: Lab, as_pi: Session) -> None:
    left_out = lab.addresses()[:2]
    found = await ask(lab, as_pi, slice_name(), 4, exclude=left_out)
    sites = Counter(lab.node(promise.address).row.site for promise in found.promises)
    assert sorted(sites.values()) == [2, 2]
    assert not {promise.address for promise in found.promises} & set(left_out)
    await give_back(lab, as_pi, found)


async def test_too_few_nodes_take_nothing_and_register_nothing(lab: Lab, as_pi: Session) -> None:
    name, before = slice_name(), open_tickets(lab)
    for wanted in ({"numnodes": 7}, {"numnodes": 2, "ips": [lab.addresses()[0], "10.9.9.9"]}, {"numnodes": 10**9}):
        with pytest.raises(Refusal) as caught:
            await ask(lab, as_pi, name, **wanted)
        assert caught.value.code is Code.TOO_FEW_NODES
        assert caught.value.detail["available"] == (1 if "ips" in wanted else 6)
    assert open_tickets(lab) == before
    assert name not in names(lab)


async def test_a_name_that_plc_refuses_takes_no_node(lab: Lab, as_pi: Session) -> None:
    name, other = slice_name(), lab.user()
    async with lab.session(other) as session:
        await give_back(lab, session, await ask(lab, session, name))
    before = open_tickets(lab)
    with pytest.raises(Refusal) as caught:
        await ask(lab, as_pi, name)
    assert caught.value.code is Code.NAME_TAKEN
    assert open_tickets(lab) == before
    with lab.engine.connect() as connection:
        assert connection.execute(select(tables.ticket).where(tables.ticket.c.state == "reserved")).all() == []


async def test_the_same_key_gets_the_same_answer(lab: Lab, as_pi: Session, as_svm: Session, pi: Credentials) -> None:
    name, before = slice_name(), open_tickets(lab)
    first = await ask(lab, as_pi, name, 2, idempotency_key="once")
    assert await ask(lab, as_pi, name, 2, idempotency_key="once") == first
    assert open_tickets(lab) == before + 2
    with pytest.raises(Refusal) as caught:
        await ask(lab, as_pi, name, 1, idempotency_key="once")
    assert caught.value.code is Code.BAD_INPUT
    # Another caller's key of the same text is another key.
    other = await ask(lab, as_svm, name, 2, idempotency_key="once", delegation=lab.delegation(pi, name))
    assert {promise.jti for promise in other.promises}.isdisjoint(promise.jti for promise in first.promises)
    assert other.slice_id == first.slice_id
    await give_back(lab, as_pi, first)
    await give_back(lab, as_pi, other)


async def test_an_answer_is_void_once_a_ticket_of_it_was_given_back_or_ran_out(lab: Lab, as_pi: Session) -> None:
    name = slice_name()
    first = await ask(lab, as_pi, name, 2, idempotency_key="void")
    await lab.agent_client(as_pi).return_ticket(first.promises[0].jti, None)
    second = await ask(lab, as_pi, name, 2, idempotency_key="void")
    with lab.engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(seconds=3601)
        connection.execute(update(tables.request).where(tables.request.c.key == "void").values(made_at=old))
    third = await ask(lab, as_pi, name, 2, idempotency_key="void")
    jtis = [promise.jti for found in (first, second, third) for promise in found.promises]
    assert len(set(jtis)) == 6
    for jti in jtis[1:]:  # the first was given back, and is not found once its node has burnt it
        await lab.agent_client(as_pi).return_ticket(jti, None)


async def test_the_same_request_many_times_at_once_is_answered_once(lab: Lab, as_pi: Session) -> None:
    name, before = slice_name(), open_tickets(lab)
    answers = await asyncio.gather(*(ask(lab, as_pi, name, 2, idempotency_key="at-once") for _ in range(12)))
    assert len({tuple(promise.jti for promise in answer.promises) for answer in answers}) == 1
    assert open_tickets(lab) == before + 2
    await give_back(lab, as_pi, answers[0])


async def test_two_askers_never_get_the_same_slot(lab: Lab, as_pi: Session) -> None:
    """Many owners at once, for more than there is."""
    owners = [lab.user() for _ in range(6)]
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(lab.session(owner)) for owner in owners for _ in range(2)]
        answers = await asyncio.gather(
            *(ask(lab, session, slice_name(), 3) for session in sessions), return_exceptions=True
        )
        granted = [found for found in answers if isinstance(found, Tickets)]
        refusals = [found for found in answers if isinstance(found, Refusal)]
        assert len(granted) + len(refusals) == len(answers)
        assert {refusal.code for refusal in refusals} == {Code.TOO_FEW_NODES}
        held = Counter(promise.node for found in granted for promise in found.promises)
        assert max(held.values()) <= SLOTS
        assert len(granted) * 3 > 6 * SLOTS - 3 * 3  # nearly all went out
        for session, found in zip(sessions, answers, strict=True):
            if isinstance(found, Tickets):
                await give_back(lab, session, found)


async def test_a_ticket_that_was_given_back_frees_its_slot(lab: Lab, as_pi: Session) -> None:
    address = lab.addresses()[5]
    taken = [await ask(lab, as_pi, slice_name(), ips=[address]) for _ in range(SLOTS)]
    with pytest.raises(Refusal) as caught:
        await ask(lab, as_pi, slice_name(), ips=[address])
    assert caught.value.code is Code.TOO_FEW_NODES
    given = taken.pop(0)
    await give_back(lab, as_pi, given)
    with pytest.raises(Refusal) as caught:
        await give_back(lab, as_pi, given)
    assert caught.value.code is Code.NOT_FOUND
    taken.append(await ask(lab, as_pi, slice_name(), ips=[address]))
    for found in taken:
        await give_back(lab, as_pi, found)


async def test_tickets_of_one_answer_given_back_at_the_same_time(lab: Lab, as_pi: Session) -> None:
    client = lab.agent_client(as_pi)
    for _ in range(8):
        found = await ask(lab, as_pi, slice_name(), 6)
        await asyncio.gather(*(client.return_ticket(promise.jti, None) for promise in found.promises))
        await lab.settled_tickets()
    assert open_tickets(lab) == 0


async def test_a_redeemed_ticket_does_not_take_its_slot_twice(lab: Lab, as_pi: Session) -> None:
    address, name = lab.addresses()[4], slice_name()
    before = await lab.settled(as_pi, lambda ads: all(ad.slots_free == SLOTS for ad in ads))
    found = await ask(lab, as_pi, name, ips=[address])
    node = lab.node_client(as_pi, found.promises[0])
    await node.redeem(found.promises[0].token, None)
    await lab.settled(as_pi, lambda ads: any(ad.slots_free == SLOTS - 1 for ad in ads))
    rest = [await ask(lab, as_pi, slice_name(), ips=[address]) for _ in range(SLOTS - 1)]
    for taken in rest:
        await give_back(lab, as_pi, taken)
    await node.delete(name, found.slice_id, found.promises[0].jti, None)
    assert await lab.settled(as_pi, lambda ads: all(ad.slots_free == SLOTS for ad in ads))
    assert len(before) == 6


async def test_one_owner_has_so_many_open_tickets_and_no_more(lab: Lab) -> None:
    owner = lab.user()
    object.__setattr__(lab.agent, "bounds", Bounds(2, 50))
    try:
        async with lab.session(owner) as session:
            first = await ask(lab, session, slice_name(), 2)
            with pytest.raises(Refusal) as caught:
                await ask(lab, session, slice_name())
            assert caught.value.code is Code.OVER_CAPACITY
            await give_back(lab, session, first)
            await give_back(lab, session, await ask(lab, session, slice_name()))
    finally:
        object.__setattr__(lab.agent, "bounds", Bounds(200, 50))


async def test_a_node_whose_ad_is_old_is_not_offered(lab: Lab, as_pi: Session) -> None:
    address = lab.addresses()[0]
    advertiser_down = update(tables.ad).where(tables.ad.c.address == address)
    with lab.engine.begin() as connection:
        connection.execute(advertiser_down.values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        # Seen by nobody else: the node will advertise again in a moment.
        rows = connection.execute(select(tables.ad).where(tables.ad.c.expires_at > datetime.now(UTC))).all()
        assert len(rows) == 5
    with lab.engine.begin() as connection:
        connection.execute(advertiser_down.values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    with pytest.raises(Refusal) as caught:
        await ask(lab, as_pi, slice_name(), ips=[address])
    assert caught.value.code is Code.TOO_FEW_NODES
    await lab.settled(as_pi, lambda ads: len(ads) == 6)


async def test_a_request_that_was_cut_off_is_taken_up_where_it_stopped(
    lab: Lab, as_pi: Session, pi: Credentials
) -> None:
    name = slice_name()
    body = {"slice": name, "numnodes": 2, "leaselen": 600, "ips": [], "exclude": []}
    wanted = TicketRequest(pi.identity, "cut-off", digest(body), Demand(pi.identity, name, 2), 600)
    with lab.engine.begin() as connection:
        reserved = tickets.reserve(connection, wanted, datetime.now(UTC), BOUNDS)
    assert isinstance(reserved, Reserved)
    before = open_tickets(lab)
    found = await ask(lab, as_pi, name, 2, idempotency_key="cut-off")
    assert [promise.jti for promise in found.promises] == [jti for jti, _ in reserved.places]
    assert open_tickets(lab) == before
    await give_back(lab, as_pi, found)


async def test_a_reservation_that_lapsed_is_made_anew(lab: Lab, as_pi: Session, pi: Credentials) -> None:
    name, now = slice_name(), datetime.now(UTC)
    body = {"slice": name, "numnodes": 1, "leaselen": 600, "ips": [], "exclude": []}
    wanted = TicketRequest(pi.identity, "lapsed", digest(body), Demand(pi.identity, name, 1), 600)
    with lab.engine.begin() as connection:
        reserved = tickets.reserve(connection, wanted, now, BOUNDS)
        assert isinstance(reserved, Reserved)
        lapsed = update(tables.ticket).where(tables.ticket.c.jti == reserved.places[0][0])
        connection.execute(lapsed.values(made_at=now - timedelta(hours=1), expires_at=now - timedelta(minutes=1)))
    with pytest.raises(Refusal) as caught, lab.engine.begin() as connection:
        tickets.issue(connection, reserved, UUID(int=7), "{}", now, now + timedelta(hours=1))
    assert caught.value.code is Code.TIMEOUT
    found = await ask(lab, as_pi, name, 1, idempotency_key="lapsed")
    assert found.promises[0].jti != reserved.places[0][0]
    await give_back(lab, as_pi, found)


def test_what_nobody_can_ask_for_any_more_is_purged(lab: Lab) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=3)
    with lab.engine.begin() as connection:
        connection.execute(
            tables.ticket.insert().values(
                jti="old",
                position=0,
                node="n",
                owner="o",
                slice="s",
                leaselen=1,
                state="reserved",
                made_at=long_ago,
                expires_at=long_ago + timedelta(seconds=1),
            )
        )
    lab.agent.purge()
    with lab.engine.connect() as connection:
        assert connection.scalar(select(tables.ticket.c.jti).where(tables.ticket.c.jti == "old")) is None
