"""What agents advertise, asked for with svmd's own certificate; and which nodes a slice would get."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Response

from agent.client import Ad, AdList, AgentClient
from plc.client import AgentEntry
from rpc.aio import Session
from rpc.server import Guard
from svm.service.bodies import PlanBody
from svm.service.context import Service
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.needs import NOTHING
from trust.peers import Peer

Found = list[tuple[str, Ad]]
"""(agent's name, advertisement)."""
_FOR_SERVICES = {"api", "frontdoor", "expires_at"}
_SHOWN = [name for name in Ad.__slots__ if name not in _FOR_SERVICES]


def add_ads(app: FastAPI, service: Service, guard: Guard, session: Session, lists: "Lists") -> None:
    """`GET /ads` and `POST /plans`. `session` is open while the app serves."""
    users = Depends(guard.role(Role.USER))

    @app.get("/ads")
    async def get_ads(
        _peer: Annotated[Peer, users], agent: Annotated[str | None, Query(max_length=64)] = None
    ) -> Response:
        return Response(await _ads(service, lists, [agent] if agent else []), media_type="application/json")

    @app.post("/plans")
    async def post_plan(body: PlanBody, peer: Annotated[Peer, users]) -> dict[str, Any]:
        # As newtickets does: without a name it asks the default agent.
        known = await asyncio.to_thread(service.agents.named if body.agents else _all(service), body.agents)
        planned = await _plan(session, known if body.agents else known[:1], body, peer.identity)
        return {"nodes": [ad_json(name, ad) for name, ad in planned]}


class Lists:
    """Agents' advertisements as they were last asked for, and the answer that was made of them.

    An agent whose advertisements are still the same says so in a few bytes (ETag); five thousand are 70 ms of work.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[Identity, AdList] = {}
        self._made: tuple[tuple[tuple[str, str], ...], bytes] = ((), b"")

    async def of(self, entry: AgentEntry) -> AdList:
        """This agent's. Raises Refusal when it does not answer."""
        known = self._known.get(entry.identity)
        client = AgentClient(self._session, entry.url, entry.identity)
        found = await client.ads(known.etag if known else None)
        if found is not None:
            self._known[entry.identity] = known = found
        assert known is not None  # noqa: S101 - it was asked with the tag of what is known
        return known

    def answer(self, found: Mapping[str, AdList]) -> bytes:
        """The body of `GET /ads` for these agents' lists (by agent's name), each node once."""
        tags = tuple((name, listed.etag) for name, listed in found.items())
        if self._made[0] != tags:
            nodes: dict[str, tuple[str, Ad]] = {}
            for name, listed in found.items():
                for ad in listed.ads:
                    nodes.setdefault(ad.address, (name, ad))
            self._made = tags, json.dumps({"ads": [ad_json(name, ad) for name, ad in nodes.values()]}).encode()
        return self._made[1]


async def _ads(service: Service, lists: Lists, names: Sequence[str]) -> bytes:
    """Current advertisements of these agents (none named: of all), each node once.

    An agent that was not asked for by name may be away. Raises Refusal when no agent answered.
    """
    entries = await asyncio.to_thread(service.agents.named if names else _all(service), names)
    if not entries:
        raise Refusal(Code.NOT_FOUND, "plc knows no agent yet; start one, or try again in a minute")
    answers = await asyncio.gather(*(lists.of(entry) for entry in entries), return_exceptions=True)
    found: dict[str, AdList] = {}
    failures: list[Refusal] = []
    for entry, answer in zip(entries, answers, strict=True):
        if isinstance(answer, Refusal):
            failures.append(Refusal(answer.code, f"agent {entry.name}: {answer.reason}"))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found[entry.name] = answer
    if failures and (names or len(failures) == len(entries)):
        raise failures[0]
    return lists.answer(found)


async def _plan(session: Session, entries: Sequence[AgentEntry], body: PlanBody, owner: Identity) -> Found:
    """What these agents would give, asked in their order as newtickets asks them: each for what is missing still."""
    found: Found = []
    available = 0
    for entry in entries:
        missing, taken = body.numnodes - len(found), [ad.address for _, ad in found]
        needs = body.needs or NOTHING
        ask_for = partial(
            AgentClient(session, entry.url, entry.identity).plan,
            owner=owner,
            slice=body.slice,
            ips=body.ips,
            exclude=taken,
            needs=needs.of_digest(found[0][1].digest(needs)) if found else needs,
        )
        try:
            planned = await ask_for(numnodes=missing)
        except Refusal as refusal:
            if refusal.code is not Code.TOO_FEW_NODES or len(entries) == 1:
                raise
            there = refusal.detail.get("available")
            some = there if isinstance(there, int) else 0
            available += some
            planned = await ask_for(numnodes=some) if some and entry is not entries[-1] else ()
        found += [(entry.name, ad) for ad in planned]
        if len(found) == body.numnodes:
            return found
    raise Refusal(Code.TOO_FEW_NODES, f"too few nodes: {body.numnodes} asked for, {available} available; ask for fewer")


def _all(service: Service) -> Any:
    return lambda _names: service.agents.entries()


def ad_json(agent: str, ad: Ad) -> dict[str, Any]:
    """One advertisement for a user: what there is, not how services reach it."""
    return {"agent": agent, **{name: getattr(ad, name) for name in _SHOWN}}
