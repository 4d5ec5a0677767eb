"""When a node tells its agents what, and how it gets on with agents that are older, newer or started anew."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from agent.client import Ad, FrontDoor, Heard, Returned
from nodemgr.advertise import TOGETHER, Advertiser, Location, Told, advertisement
from tests.unit.nodemgr.world import SLICE, SLICE_KEYS, World
from tests.unit.trust.factories import AGENT, NOW, SLICE_ID
from trust.errors import Code, Refusal

PLACE = Location.of("127.0.1.1", 2280, "Princeton", FrontDoor("127.0.1.1", 22, "ssh-ed25519 AAAA"))


@dataclass
class Agent:
    """An agent's client: what it was told, in order. `tags` False: one from before there were any."""

    tags: bool = True
    said: list[tuple[str, Any]] = field(default_factory=list)
    returned: tuple[Returned, ...] = ()
    silent: bool = False
    known: str | None = None

    async def advertise(self, ad: Ad, burnt: Sequence[str] = ()) -> Heard:
        self._answering()
        self.said.append(("all", (ad.slots_free, list(burnt))))
        self.known = f'"{len(self.said)}"' if self.tags else None
        return self._heard()

    async def repeat(self, node: str, tag: str) -> Heard:
        self._answering()
        if tag != self.known:
            raise Refusal(Code.NOT_FOUND, "not known")
        self.said.append(("same", node))
        return self._heard()

    def _answering(self) -> None:
        if self.silent:
            raise Refusal(Code.UNREACHABLE, "no answer")

    def _heard(self) -> Heard:
        returned, self.returned = self.returned, ()
        return Heard(returned, self.known)


@dataclass
class Crowded(Agent):
    """Counts how many speak at once."""

    now: int = 0
    most: int = 0

    async def advertise(self, ad: Ad, burnt: Sequence[str] = ()) -> Heard:
        await self._speak()
        heard = await super().advertise(ad, burnt)
        self.known = '"one for all"'
        return Heard(heard.returned, self.known)

    async def repeat(self, node: str, tag: str) -> Heard:
        await self._speak()
        return await super().repeat(node, tag)

    async def _speak(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def advertiser(world: World, agent: Agent) -> Advertiser:
    return Advertiser(world.node, PLACE, {AGENT: agent}, seconds=0)  # type: ignore[dict-item]


def a_second_later(advertiser: Advertiser) -> None:
    for told in advertiser._told.values():
        object.__setattr__(told, "changed_at", told.changed_at - TOGETHER)


async def test_what_has_not_changed_is_repeated_by_its_tag(advertiser: Advertiser, agent: Agent) -> None:
    for _ in range(3):
        await advertiser.tell()
    assert agent.said == [("all", (3, [])), ("same", "n1"), ("same", "n1")]


async def test_the_nodes_of_a_process_introduce_themselves_by_turns(world: World) -> None:
    crowd, turns = Crowded(), asyncio.Semaphore(2)
    many = [Advertiser(world.node, PLACE, {AGENT: crowd}, 0, turns) for _ in range(7)]  # type: ignore[dict-item]
    await asyncio.gather(*(each.tell() for each in many))
    assert (crowd.most, len(crowd.said)) == (2, 7)
    await asyncio.gather(*(each.tell() for each in many))  # who is known waits for nobody
    assert (crowd.most, len(crowd.said)) == (7, 14)


async def test_an_older_agent_is_told_all_of_it_each_time(advertiser: Advertiser, agent: Agent) -> None:
    agent.tags = False
    for _ in range(2):
        await advertiser.tell()
    assert agent.said == [("all", (3, []))] * 2


async def test_an_agent_that_started_anew_is_told_all_of_it(advertiser: Advertiser, agent: Agent) -> None:
    await advertiser.tell()
    agent.known = None
    await advertiser.tell()
    await advertiser.tell()
    assert [how for how, _ in agent.said] == ["all", "all", "same"]


async def test_an_agent_that_is_elsewhere_is_told_all_of_it(advertiser: Advertiser, agent: Agent) -> None:
    await advertiser.tell()
    advertiser.seconds = 20
    moved = Agent()
    advertiser.agents = {AGENT: moved}  # type: ignore[dict-item]
    await advertiser.tell()
    assert moved.said == [("all", (3, []))]


async def test_nobody_knows_what_an_agent_has_that_did_not_answer(advertiser: Advertiser, agent: Agent) -> None:
    await advertiser.tell()
    agent.silent = True
    await advertiser.tell()
    agent.silent = False
    await advertiser.tell()
    assert [how for how, _ in agent.said] == ["all", "all"]


async def test_changes_that_change_nothing_advertised_are_not_told(
    world: World, advertiser: Advertiser, agent: Agent
) -> None:
    advertiser.seconds = 20
    await advertiser.tell()
    assert 0 < await advertiser.tell() <= 20
    a_second_later(advertiser)
    lease = world.leased()
    await advertiser.tell()
    await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    await advertiser.tell()
    assert agent.said == [("all", (3, [])), ("all", (2, ["t-1"]))]


async def test_places_that_are_taken_are_told_together_and_a_free_one_at_once(
    world: World, advertiser: Advertiser, agent: Agent
) -> None:
    await advertiser.tell()
    lease = world.leased()
    assert 0 < await advertiser.tell() <= TOGETHER
    assert agent.said == [("all", (3, []))]
    a_second_later(advertiser)
    await advertiser.tell()
    await world.node.delete(world.user(), SLICE, lease.slice_id, "t-1")
    await advertiser.tell()
    assert agent.said[1:] == [("all", (2, ["t-1"])), ("all", (3, ["t-1"]))]


async def test_tickets_that_were_given_back_are_burnt_and_that_is_said(
    world: World, advertiser: Advertiser, agent: Agent
) -> None:
    await advertiser.tell()
    agent.returned = (Returned("t-9", world.user().owner, SLICE_ID, NOW + timedelta(hours=1)),)
    await advertiser.tell()
    await advertiser.tell()
    assert agent.said == [("all", (3, [])), ("same", "n1"), ("all", (3, ["t-9"]))]


async def test_it_goes_on_by_itself(advertiser: Advertiser, agent: Agent) -> None:
    running = asyncio.create_task(advertiser.run())
    while len(agent.said) < 3:
        await asyncio.sleep(0)
    running.cancel()
    assert agent.said[0] == ("all", (3, []))


def test_its_end_is_no_news(world: World) -> None:
    ad = advertisement(world.node, PLACE)
    told = Told(None, 0, 0, ad)  # type: ignore[arg-type]
    world.clock.time += timedelta(seconds=10)
    later = advertisement(world.node, PLACE)
    assert later.expires_at != ad.expires_at
    assert told.has(later, [])
    assert not told.has(later, ["t-1"])
