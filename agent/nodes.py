"""What an agent has heard of every node, for plc's operator: also of those that have fallen silent."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import Connection, select

from agent.client import AD_LIFETIME
from agent.issuing import Agent
from models.agent import ad
from rpc.server import Guard
from trust.authorize import require_operator
from trust.identity import Role
from trust.peers import Peer

COLUMNS = ("node", "address", "api", "site", "version", "driver", "slots", "slots_free", "slivers")
ROOM = ("memory_free_mb", "disk_free_mb", "images", "simulated")


def heard(connection: Connection, now: datetime) -> list[Mapping[str, Any]]:
    """By name; `heard_at`: when it advertised last, `up`: whether that still counts."""
    rows = connection.execute(select(*(ad.c[name] for name in (*COLUMNS, *ROOM, "expires_at"))).order_by(ad.c.node))
    return [_told(dict(row._mapping), now) for row in rows]


def _told(row: dict[str, Any], now: datetime) -> Mapping[str, Any]:
    end: datetime = row.pop("expires_at")
    return {**row, "up": end > now, "heard_at": (end - timedelta(seconds=AD_LIFETIME)).isoformat()}


def add_nodes(app: FastAPI, agent: Agent, guard: Guard) -> None:
    """`GET /nodes`."""
    operators = Depends(guard.role(Role.USER, Role.PLC))

    @app.get("/nodes")
    def get_nodes(peer: Annotated[Peer, operators]) -> dict[str, Any]:
        require_operator(peer)
        with agent.engine.connect() as connection:
            return {"nodes": heard(connection, agent.now())}
