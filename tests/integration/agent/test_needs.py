"""Tickets for slices that need something: from the request to the node's lease; what is promised is counted at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import update

from agent.client import AgentClient
from models import agent as tables
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab, slice_name
from tests.integration.agent.test_tickets import ask, give_back
from trust.documents import verify_lease, verify_ticket
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.needs import NOTHING, Needs

NEEDS = Needs(memory_mb=9_000, disk_mb=500, processes=64, cpu=200)
A, B = "aa" * 32, "bb" * 32


@pytest.fixture(autouse=True)
async def settled(lab: Lab) -> None:
    """What the test before gave back has been burnt by its node, and counts no more."""
    await lab.settled_tickets()


@pytest.fixture
def pi(lab: Lab) -> Credentials:
    """One of this test's own: an owner has so many names and no more."""
    return lab.user()


@contextmanager
def saying(lab: Lab, address: str, **said: Any) -> Iterator[None]:
    """As if the node had said this."""
    where = tables.ad.c.address == address
    with lab.engine.begin() as connection:
        before = connection.execute(tables.ad.select().where(where)).one()._mapping
        connection.execute(update(tables.ad).where(where).values(**said))
    yield
    with lab.engine.begin() as connection:
        connection.execute(update(tables.ad).where(where).values({name: before[name] for name in said}))


async def refused(lab: Lab, session: Session, *asked: Any, **wanted: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await ask(lab, session, slice_name(), *asked, **wanted)
    return caught.value


async def test_from_the_request_to_the_lease(lab: Lab, as_pi: Session) -> None:
    name, address = slice_name(), lab.addresses()[0]
    found = await ask(lab, as_pi, name, ips=[address], needs=NEEDS)
    (promise,) = found.promises
    node = Identity(Role.NODE, promise.node)
    assert verify_ticket(promise.token, store=lab.trust, audience=node).needs == NEEDS
    client = lab.node_client(as_pi, promise)
    lease = await client.redeem(promise.token, None)
    assert verify_lease(lease.token, store=lab.trust).needs == NEEDS
    # One more is too many, once the node has said so as well as before.
    ads = await lab.settled(as_pi, lambda ads: any(ad.memory_free_mb == 7_384 for ad in ads))
    assert [ad.sliver_mb for ad in ads] == [256] * len(ads)
    refusal = await refused(lab, as_pi, ips=[address], needs=NEEDS)
    assert "1 asked for, 0 of those listed have 9,000 MiB of memory free" in refusal.reason
    await client.delete(name, found.slice_id, promise.jti, None)
    await lab.settled(as_pi, lambda ads: all(ad.memory_free_mb == 16_384 for ad in ads))


async def test_an_open_ticket_holds_memory_and_disk(lab: Lab, as_pi: Session) -> None:
    address = lab.addresses()[1]
    with saying(lab, address, disk_unpromised_mb=1_000):
        first = await ask(lab, as_pi, slice_name(), ips=[address], needs=NEEDS)
        memory = await refused(lab, as_pi, ips=[address], needs=Needs(memory_mb=7_385))
        disk = await refused(lab, as_pi, ips=[address], needs=Needs(disk_mb=501))
        assert "7,385 MiB of memory free" in memory.reason
        assert "501 MiB of disk free" in disk.reason
        assert (memory.code, memory.detail["available"]) == (Code.TOO_FEW_NODES, 0)
        plain = await ask(lab, as_pi, slice_name(), ips=[address])
        assert "7,384 MiB" in (await refused(lab, as_pi, ips=[address], needs=Needs(memory_mb=7_384))).reason
        second = await ask(lab, as_pi, slice_name(), ips=[address], needs=Needs(memory_mb=7_128, disk_mb=500))
        # A place is free, and no memory for it.
        assert (await refused(lab, as_pi, ips=[address])).code is Code.TOO_FEW_NODES
    for found in (first, plain, second):
        await give_back(lab, as_pi, found)


async def test_large_tickets_hold_as_many_places_as_they_are_worth(lab: Lab, as_pi: Session) -> None:
    """Half of all 24 places may be held by one owner's unused tickets: half of all memory too."""
    found = await ask(lab, as_pi, slice_name(), 6, needs=Needs(memory_mb=8_192))
    refusal = await refused(lab, as_pi)
    assert refusal.code is Code.OVER_CAPACITY
    assert "your unused tickets would hold 13 of 24 places and may hold 12" in refusal.reason
    await give_back(lab, as_pi, found)
    assert "18 of 24" in (await refused(lab, as_pi, 6, needs=Needs(memory_mb=8_193))).reason
    await give_back(lab, as_pi, await ask(lab, as_pi, slice_name(), 4, needs=Needs(memory_mb=8_193)))


async def test_a_slices_own_open_ticket_is_about_the_same_place(lab: Lab, as_pi: Session) -> None:
    name, address = slice_name(), lab.addresses()[2]
    first = await ask(lab, as_pi, name, ips=[address], needs=NEEDS)
    second = await ask(lab, as_pi, name, ips=[address], needs=NEEDS)
    # Both count once, together.
    third = await ask(lab, as_pi, slice_name(), ips=[address], needs=Needs(memory_mb=7_384))
    for found in (first, second, third):
        await give_back(lab, as_pi, found)


async def test_a_node_that_knows_of_no_needs_gets_plain_slices_only(lab: Lab, as_pi: Session) -> None:
    address = lab.addresses()[3]
    with saying(lab, address, sliver_mb=None, most_processes=None, disk_unpromised_mb=None):
        refusal = await refused(lab, as_pi, ips=[address], needs=Needs(cpu=300))
        assert "0 of those listed have what it needs" in refusal.reason
        found = await ask(lab, as_pi, slice_name(), ips=[address])
        token = found.promises[0].token
        node = Identity(Role.NODE, found.promises[0].node)
        assert verify_ticket(token, store=lab.trust, audience=node).needs == NOTHING
    await give_back(lab, as_pi, found)


async def test_all_nodes_have_the_same_image(lab: Lab, as_pi: Session) -> None:
    one, two, three, four, *_ = lab.addresses()
    image = Needs(image="bookworm")
    with (
        saying(lab, one, images={"bookworm": A}),
        saying(lab, two, images={"bookworm": B, "other": A}),
        saying(lab, three, images={"bookworm": B}),
        saying(lab, four, images={}),
    ):
        found = await ask(lab, as_pi, slice_name(), 2, needs=image, idempotency_key="image")
        assert {promise.address for promise in found.promises} == {two, three}
        assert found.digest == B
        for promise in found.promises:
            ticket = verify_ticket(promise.token, store=lab.trust, audience=Identity(Role.NODE, promise.node))
            assert ticket.needs == Needs(image="bookworm", digest=B)
        assert await ask(lab, as_pi, "x" + slice_name(), needs=Needs(image="bookworm", digest=A)) is not None
        assert "2 have the image bookworm" in (await refused(lab, as_pi, 3, needs=image)).reason
        client: AgentClient = lab.agent_client(as_pi)
        wanted = {"owner": Identity.user("a@b.org"), "slice": "somebody", "ips": (), "exclude": (two,)}
        planned = await client.plan(numnodes=1, needs=image, **wanted)  # type: ignore[arg-type]
        assert [ad.digest(image) for ad in planned] in ([A], [B])
    lab.end_tickets()


async def test_an_agent_that_died_goes_on_with_the_digest_that_it_had_chosen(lab: Lab, as_pi: Session) -> None:
    one, two, *_ = lab.addresses()
    with saying(lab, one, images={"bookworm": A}), saying(lab, two, images={"bookworm": A}):
        name = slice_name()
        first = await ask(lab, as_pi, name, 2, needs=Needs(image="bookworm"), idempotency_key="died")
        with lab.engine.begin() as connection:  # before it had signed
            connection.execute(update(tables.request).where(tables.request.c.key == "died").values(response=None))
            connection.execute(update(tables.ticket).where(tables.ticket.c.slice == name).values(state="reserved"))
        with saying(lab, one, images={"bookworm": B}):
            second = await ask(lab, as_pi, name, 2, needs=Needs(image="bookworm"), idempotency_key="died")
    assert second.digest == A
    assert [promise.jti for promise in second.promises] == [promise.jti for promise in first.promises]
    await give_back(lab, as_pi, second)
