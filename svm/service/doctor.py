"""`GET /doctor`: what svmd knows to be wrong with the caller's slices, and whether its agents answer (`svm doctor`)."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import func, select

from models.diagnosis import Ailment, ailments, verbs_under_way
from models.slices import owned
from plc.client import AgentEntry
from rpc.aio import Session
from rpc.server import Guard
from svm.service.ads import ask
from svm.service.bodies import slice_json
from svm.service.context import Service
from trust.errors import Refusal
from trust.identity import Identity, Role
from trust.peers import Peer


def add_doctor(app: FastAPI, service: Service, guard: Guard, session: Session) -> None:
    """The route. `session` is open while the app serves."""
    users = Depends(guard.role(Role.USER))

    @app.get("/doctor")
    async def get_doctor(peer: Annotated[Peer, users]) -> dict[str, Any]:
        found, agents = await asyncio.gather(
            asyncio.to_thread(_look, service, peer.identity), _agents(service, session)
        )
        return {**found, "agents": agents}


def _look(service: Service, owner: Identity) -> dict[str, Any]:
    with service.engine.connect() as connection:
        verbs = verbs_under_way(connection, owner)
        return {
            "now": connection.execute(select(func.clock_timestamp())).scalar_one().isoformat(),
            "slices": [
                {**slice_json(each), "operations": [{"verb": verb} for verb in verbs.get(each.id, ())]}
                for each in owned(connection, owner)
            ],
            "troubles": [_trouble(each) for each in ailments(connection, owner)],
        }


async def _agents(service: Service, session: Session) -> list[dict[str, Any]]:
    try:
        entries = await asyncio.to_thread(service.agents.entries)
    except Refusal as refusal:
        return [{"name": "", "ok": False, "reason": refusal.reason}]
    return list(await asyncio.gather(*(_agent(session, entry) for entry in entries)))


async def _agent(session: Session, entry: AgentEntry) -> dict[str, Any]:
    try:
        ads = await ask(session, entry)
    except Refusal as refusal:
        return {"name": entry.name, "ok": False, "reason": refusal.reason}
    return {"name": entry.name, "ok": True, "nodes": len(ads)}


def _trouble(found: Ailment) -> dict[str, Any]:
    return {
        "slice": found.slice,
        "node": found.node,
        "what": found.what,
        "since": found.since.isoformat() if found.since else None,
        "reason": found.reason,
    }
