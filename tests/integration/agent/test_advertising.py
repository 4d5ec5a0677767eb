"""Advertisements over TLS: repeated by their tag, stored in groups, by nodes and agents of different ages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import OperationalError

from agent import ads
from agent.board import Board
from agent.client import Ad, AgentClient, FrontDoor, Heard
from agent.writer import Writer
from models import agent as tables
from rpc.aio import Session
from tests.integration.agent.lab import Lab
from trust.errors import Code, Refusal

NEWCOMERS = 8


class Newcomer:
    """A node that says what a test has it say."""

    def __init__(self, lab: Lab, session: Session, ad: Ad) -> None:
        self.ad, self.session, self.client = ad, session, lab.agent_client(session)

    async def says(self, *burnt: str, **changes: Any) -> Heard:
        self.ad = replace(self.ad, **changes)
        return await self.client.advertise(self.ad, burnt)


@pytest.fixture
async def newcomers(lab: Lab, as_pi: Session) -> AsyncIterator[Sequence[Newcomer]]:
    found = await lab.agent_client(as_pi).ads()
    assert found is not None
    async with AsyncExitStack() as stack:
        made = []
        for number in range(NEWCOMERS):
            address = f"{lab.network}.{200 + number}"
            door = FrontDoor(address, 22, found.ads[0].frontdoor.host_key)
            ad = replace(found.ads[0], node=f"new{number}", address=address, api=f"https://{address}:1", frontdoor=door)
            node = lab.credentials(ad.identity, addresses=[address, f"{lab.network}.250"])
            made.append(Newcomer(lab, await stack.enter_async_context(lab.session(node)), ad))
        yield made
    with lab.engine.begin() as connection:
        connection.execute(delete(tables.ad).where(tables.ad.c.node.like("new%")))
        connection.execute(delete(tables.ticket).where(tables.ticket.c.node.like("new%")))


def stored(lab: Lab, node: str) -> Any:
    with lab.engine.connect() as connection:
        return connection.execute(select(tables.ad).where(tables.ad.c.node == node)).one_or_none()


def change(lab: Lab, statement: Any) -> None:
    with lab.engine.begin() as connection:
        connection.execute(statement)


async def test_a_tag_keeps_what_was_said_alive(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    node = newcomers[0]
    heard = await node.says()
    assert heard.tag is not None
    over = datetime.now(UTC) - timedelta(seconds=1)
    change(lab, update(tables.ad).where(tables.ad.c.node == "new0").values(expires_at=over))
    assert await node.client.repeat("new0", heard.tag) == Heard((), heard.tag)
    assert stored(lab, "new0").expires_at > over + timedelta(seconds=50)


async def test_a_tag_of_something_else_is_not_taken(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    node, other = newcomers[:2]
    before, theirs = await node.says(), await other.says()
    now = await node.says(slots_free=0)
    for tag in (before.tag, theirs.tag, '"made up"'):
        with pytest.raises(Refusal) as caught:
            await node.client.repeat("new0", str(tag))
        assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(Refusal) as caught:
        await other.client.repeat("new0", str(now.tag))
    assert caught.value.code is Code.NOT_ALLOWED
    await node.client.repeat("new0", str(now.tag))


async def test_a_tag_is_over_with_its_row(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    """The address is another node's now, say."""
    node = newcomers[0]
    tag = str((await node.says()).tag)
    change(lab, delete(tables.ad).where(tables.ad.c.node == "new0"))
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            await node.client.repeat("new0", tag)
        assert caught.value.code is Code.NOT_FOUND
    assert stored(lab, "new0") is None


async def test_a_repetition_hears_of_tickets_that_were_given_back(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    node, now = newcomers[0], datetime.now(UTC)
    tag = str((await node.says()).tag)
    row = {"position": 0, "owner": "spiffe://planet-lab/user/a@b.example", "slice": "demo", "leaselen": 60}
    times = {"made_at": now, "expires_at": now + timedelta(hours=1), "slice_id": str(lab.list_number).zfill(32)}
    for jti, of in (("back", "new0"), ("anothers", "new1")):
        change(lab, insert(tables.ticket).values(jti=jti, node=of, state="returned", **row, **times))
    heard = await node.client.repeat("new0", tag)
    assert [ticket.jti for ticket in heard.returned] == ["back"]
    # It burns that one, and cannot burn another's.
    assert (await node.says("back", "anothers")).returned == ()
    with lab.engine.connect() as connection:
        mine = select(tables.ticket.c.jti).where(tables.ticket.c.node.like("new%"))
        assert connection.execute(mine).scalars().all() == ["anothers"]


async def test_a_node_from_before_there_were_tags_says_all_of_it_each_time(
    lab: Lab, newcomers: Sequence[Newcomer]
) -> None:
    for free in (2, 2, 1):
        await newcomers[0].says(slots_free=free)
        assert stored(lab, "new0").slots_free == free


async def test_many_at_once_share_a_transaction(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    groups: list[int] = []

    class Counting(Writer):
        def _stored(self, said: Sequence[ads.Said]) -> Any:
            groups.append(len(said))
            return super()._stored(said)

    writer = Counting(lab.engine, lab.trust.clock)
    said = [ads.Said(node.ad) for node in newcomers]
    answers = await asyncio.gather(*(writer.put(one) for one in [*said, said[0]]))
    assert groups == [NEWCOMERS, 1]  # what one node says twice is stored twice
    assert len({tag for _, tag in answers}) == NEWCOMERS + 1
    assert all(stored(lab, node.ad.node) for node in newcomers)


async def test_one_that_is_refused_fails_alone(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    address = f"{lab.network}.250"
    door = replace(newcomers[0].ad.frontdoor, address=address)
    elsewhere: dict[str, Any] = {"address": address, "api": f"https://{address}:1", "frontdoor": door}
    twins = [node.says(**elsewhere) for node in newcomers[:2]]
    heard = await asyncio.gather(*twins, *(node.says(slots_free=0) for node in newcomers[2:]), return_exceptions=True)
    assert sorted(isinstance(one, Heard) for one in heard[:2]) == [False, True]
    assert {one.code for one in heard if isinstance(one, Refusal)} == {Code.NAME_TAKEN}
    assert all(isinstance(one, Heard) for one in heard[2:])
    assert [stored(lab, f"new{number}").slots_free for number in range(2, NEWCOMERS)] == [0] * (NEWCOMERS - 2)


async def test_one_node_that_speaks_twice_at_once_is_heard_in_order(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    node = newcomers[0]
    for slots in (1, 2, 3):
        heard = await asyncio.gather(node.says(slots_free=0), node.says(slots_free=slots))
        assert len({one.tag for one in heard}) == 2
    last = stored(lab, "new0").slots_free
    tags = {0: heard[0].tag, 3: heard[1].tag}
    assert await node.client.repeat("new0", str(tags[last]))


async def test_an_agent_that_starts_anew_knows_no_tags(lab: Lab, newcomers: Sequence[Newcomer]) -> None:
    tag = str((await newcomers[0].says()).tag)
    with pytest.raises(Refusal) as caught:
        await Writer(lab.engine, lab.trust.clock).keep("new0", tag)
    assert caught.value.code is Code.NOT_FOUND


async def test_without_a_database_everybody_hears_so(
    lab: Lab, newcomers: Sequence[Newcomer], monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = str((await newcomers[0].says()).tag)

    def away(*_: object) -> None:
        raise OperationalError("INSERT", {}, ConnectionError("the server has gone"))

    monkeypatch.setattr("agent.ads.put", away)
    monkeypatch.setattr("agent.ads.keep", away)
    calls = [newcomers[0].client.repeat("new0", tag), newcomers[1].says(), newcomers[2].says()]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {one.code for one in answers if isinstance(one, Refusal)} == {Code.UNREACHABLE}
    assert len(answers) == 3


async def test_the_board_has_what_was_just_said_and_not_who_is_silent(
    lab: Lab, newcomers: Sequence[Newcomer], as_pi: Session
) -> None:
    client: AgentClient = lab.agent_client(as_pi)
    await newcomers[0].says(disk_free_mb=7, slots_free=1)
    await newcomers[1].says(disk_free_mb=None)
    (one, other) = [ad for ad in await lab.settled(as_pi, lambda ads: len(ads) == 8) if ad.node in {"new0", "new1"}]
    assert (one.disk_free_mb, one.slots_free, other.disk_free_mb) == (7, 1, None)
    assert replace(one, expires_at=newcomers[0].ad.expires_at) == newcomers[0].ad
    over = datetime.now(UTC) - timedelta(seconds=1)
    change(lab, update(tables.ad).where(tables.ad.c.node.like("new%")).values(expires_at=over))
    await lab.settled(as_pi, lambda ads: len(ads) == 6)
    assert await client.ads() is not None


async def test_the_tag_of_the_board_changes_with_the_ads_and_not_with_time(
    lab: Lab, newcomers: Sequence[Newcomer]
) -> None:
    async def tag() -> str:
        """Of a board that reads now."""
        board = Board(lab.engine, lab.trust.clock, Writer(lab.engine, lab.trust.clock))
        return (await board.content())[1]

    await newcomers[0].says(slots_free=1)
    first = await tag()
    await newcomers[0].says()
    assert await tag() == first
    await newcomers[0].says(slots_free=0)
    assert await tag() != first


def test_nobody_advertises_nothing(lab: Lab) -> None:
    with lab.engine.connect() as connection:
        content, _ = ads.board(connection, datetime.now(UTC) + timedelta(days=1))
    assert content == b'{"ads":[]}'
