"""What nodes say, committed in groups: each waits for its own to be stored, and many share one transaction.

An advertisement is stored at once, or with others `GROUP_SECONDS` after the group before it. A node whose advertisement
has not changed repeats only its tag; that it counts on is written down within `KEEP_SECONDS`. What an answer says is
committed before it is given.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import uuid4

from psycopg.errors import DeadlockDetected
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from agent import ads
from agent.ads import Said
from agent.client import Returned
from trust.clock import Clock
from trust.errors import Code, Refusal

GROUP_SECONDS = 0.05  # between two groups of advertisements
KEEP_SECONDS = 0.5  # between two groups of repetitions
MAX_GROUP = 500

Answer = asyncio.Future[Sequence[Returned]]


class Writer:
    """Of one agent, in one loop. Awaiting `put` or `keep` gives the node's tickets that were given back."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.changes = 0  # advertisements stored since the start: whether there may be something new to read
        self._engine = engine
        self._clock = clock
        self._said: list[tuple[Said, Answer]] = []
        self._kept: defaultdict[str, list[Answer]] = defaultdict(list)
        self._putting: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        # Of what a node said last. Nothing of an earlier run is known: a tag is of this run.
        self._tags: dict[str, str] = {}
        self._run, self._number = uuid4().hex[:12], 0

    async def put(self, said: Said) -> tuple[Sequence[Returned], str]:
        """Store it; also the tag to repeat it by. Raises Refusal(NAME_TAKEN): another node has the address."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._said.append((said, answer))
        if self._putting is None or self._putting.done():
            self._putting = asyncio.create_task(self._put_groups())
        back = await answer
        self._number += 1
        tag = self._tags[said.ad.node] = f'"{self._run}-{self._number}"'
        return back, tag

    async def keep(self, node: str, tag: str) -> Sequence[Returned]:
        """What the node said under this tag counts on. Raises Refusal(NOT_FOUND): that is not what is stored."""
        if self._tags.get(node) != tag:
            raise unknown()
        answer: Answer = asyncio.get_running_loop().create_future()
        self._kept[node].append(answer)
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep_groups())
        return await answer

    async def _put_groups(self) -> None:
        while self._said:
            group: dict[str, tuple[Said, Answer]] = {}
            rest = []
            for said, answer in self._said:
                full = said.ad.node in group or len(group) == MAX_GROUP
                if full:  # a node's own follow one another
                    rest.append((said, answer))
                else:
                    group[said.ad.node] = said, answer
            self._said = rest
            await self._put_group(list(group.values()))
            await asyncio.sleep(GROUP_SECONDS)

    async def _put_group(self, group: Sequence[tuple[Said, Answer]]) -> None:
        try:
            results = await asyncio.to_thread(self._stored, [said for said, _ in group])
        except Exception as error:  # noqa: BLE001 - each of them hears of it
            for _, answer in group:
                _settle(answer, error)
            return
        self.changes += 1
        for said, answer in group:
            _settle(answer, results[said.ad.node])

    async def _keep_groups(self) -> None:
        while self._kept:
            await asyncio.sleep(KEEP_SECONDS)
            group, self._kept = self._kept, defaultdict(list)
            await self._keep_group(group)

    async def _keep_group(self, group: Mapping[str, Sequence[Answer]]) -> None:
        try:
            there, back = await asyncio.to_thread(self._keep, list(group))
        except Exception as error:  # noqa: BLE001 - each of them hears of it
            for answer in (each for answers in group.values() for each in answers):
                _settle(answer, error)
            return
        for node, answers in group.items():
            if node not in there:
                self._tags.pop(node, None)
            for answer in answers:
                _settle(answer, back.get(node, []) if node in there else unknown())

    def _keep(self, nodes: Sequence[str]) -> tuple[set[str], Mapping[str, list[Returned]]]:
        now = self._clock.now()
        with self._engine.begin() as connection:
            return ads.keep(connection, nodes, now), ads.returned(connection, nodes, now)

    def _stored(self, said: Sequence[Said]) -> Mapping[str, Sequence[Returned] | Exception]:
        """In one transaction; where one of them stands in the way, each in its own."""
        try:
            with self._engine.begin() as connection:
                back = ads.put(connection, said, self._clock.now())
                return {one.ad.node: back.get(one.ad.node, []) for one in said}
        except DBAPIError as error:
            if not isinstance(error, IntegrityError | DataError) and not isinstance(error.orig, DeadlockDetected):
                raise
        return {one.ad.node: self._alone(one) for one in said}

    def _alone(self, said: Said) -> Sequence[Returned] | Exception:
        try:
            with self._engine.begin() as connection:
                now = self._clock.now()
                ads.free_address(connection, said.ad, now)
                return ads.put(connection, [said], now).get(said.ad.node, [])
        except (Refusal, IntegrityError, DataError) as error:
            return error


def unknown() -> Refusal:
    return Refusal(Code.NOT_FOUND, "this agent does not have that advertisement, or not any more; send all of it")


def _settle(answer: Answer, result: Sequence[Returned] | Exception) -> None:
    if answer.done():  # whoever asked has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
