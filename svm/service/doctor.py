"""`GET /doctor`: what svmd knows to be wrong with the caller's slices, whether its agents answer,
and whether beat and workers show life (`svm doctor`)."""

import asyncio
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import func, select, true

from lifecycle.diagnosis import Ailment, ailments, verbs_under_way
from lifecycle.roles import roles
from lifecycle.slices import everyones, owned
from models.svm import slice_table, sliver
from plc.client import AgentEntry
from rpc.server import Guard
from svm.service.ads import Lists
from svm.service.bodies import slice_json
from svm.service.context import Service
from trust.errors import Refusal
from trust.identity import Identity, Role
from trust.peers import Peer

AGENT_SECONDS = 5  # that an agent has to answer; all are asked side by side


def add_doctor(app: FastAPI, service: Service, guard: Guard, lists: Lists) -> None:
    """The route."""
    users = Depends(guard.role(Role.USER))

    @app.get("/doctor")
    async def get_doctor(peer: Annotated[Peer, users]) -> dict[str, Any]:
        return await diagnosis(service, lists, peer.identity)


async def diagnosis(service: Service, lists: Lists, owner: Identity | None) -> dict[str, Any]:
    """The answer; `owner` None: about everybody's slices."""
    found, agents = await asyncio.gather(asyncio.to_thread(_look, service, owner), _agents(service, lists))
    full = sorted({node for agent in agents for node in agent.pop("full", ())})
    found["troubles"] += await asyncio.to_thread(_on_full_disks, service, owner, full)
    return {**found, "agents": agents}


def _look(service: Service, owner: Identity | None) -> dict[str, Any]:
    with service.engine.connect() as connection:
        verbs = verbs_under_way(connection, owner)
        return {
            "now": connection.execute(select(func.clock_timestamp())).scalar_one().isoformat(),
            "slices": [
                {**slice_json(each), "operations": [{"verb": verb} for verb in verbs.get(each.id, ())]}
                for each in (owned(connection, owner) if owner else everyones(connection))
            ],
            "troubles": [_trouble(each) for each in ailments(connection, owner)],
            "roles": [asdict(each) for each in roles(connection, silence=service.role_silence, watched=service.up)],
        }


async def _agents(service: Service, lists: Lists) -> list[dict[str, Any]]:
    try:
        entries = await asyncio.to_thread(service.agents.entries)
    except Refusal as refusal:
        return [{"name": "", "ok": False, "reason": refusal.reason}]
    return list(await asyncio.gather(*(_agent(lists, entry) for entry in entries)))


async def _agent(lists: Lists, entry: AgentEntry) -> dict[str, Any]:
    try:
        async with asyncio.timeout(AGENT_SECONDS):
            ads = (await lists.of(entry)).ads
    except Refusal as refusal:
        return {"name": entry.name, "ok": False, "reason": refusal.reason}
    except TimeoutError:
        return {"name": entry.name, "ok": False, "reason": f"no answer within {AGENT_SECONDS} s; see its log"}
    full = [ad.address for ad in ads if ad.disk_free_mb == 0]
    quotas = Counter(ad.quota for ad in ads if ad.quota)
    return {"name": entry.name, "ok": True, "nodes": len(ads), "full": full, "quotas": quotas}


def _on_full_disks(service: Service, owner: Identity | None, nodes: list[str]) -> list[dict[str, Any]]:
    """The owner's slivers on nodes whose disk counts as full."""
    if not nodes:
        return []
    whose = slice_table.c.owner == owner.uri if owner else true()
    wanted = (whose, sliver.c.node.in_(nodes), sliver.c.state == "running")
    query = (
        select(slice_table.c.name, sliver.c.node).join(slice_table, slice_table.c.id == sliver.c.slice).where(*wanted)
    )
    with service.engine.connect() as connection:
        rows = connection.execute(query.order_by(slice_table.c.name, sliver.c.node)).all()
    return [{"slice": name, "node": node, "what": "disk", "since": None, "reason": None} for name, node in rows]


def _trouble(found: Ailment) -> dict[str, Any]:
    return {
        "slice": found.slice,
        "node": found.node,
        "what": found.what,
        "since": found.since.isoformat() if found.since else None,
        "reason": found.reason,
    }
