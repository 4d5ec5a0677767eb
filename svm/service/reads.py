"""Reads of slices: what nodelist, expirations, status, slices, history, ssh and ssh-config are made of."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, func, select

from lifecycle import events, operations, slices
from rpc.server import Guard
from svm.service.bodies import Address, event_json, operation_json, slice_json, sliver_json
from svm.service.context import Service
from trust.errors import Refusal
from trust.identity import Identity, Role
from trust.names import check_slice_name
from trust.peers import Peer


def add_reads(app: FastAPI, service: Service, guard: Guard) -> None:
    """`GET /slices`, `GET /slices/{name}`, `GET /slices/{name}/history`, `GET /slivers`."""
    users = Depends(guard.role(Role.USER))

    @app.get("/slices")
    def get_slices(peer: Annotated[Peer, users], purgeable: bool = False) -> Response:
        with service.engine.connect() as connection:
            found = (slices.purgeable if purgeable else slices.owned)(connection, peer.identity)
        return JSONResponse({"slices": [slice_json(each) for each in found]})

    @app.get("/slices/{name}")
    def get_slice(name: str, peer: Annotated[Peer, users]) -> Response:
        with service.engine.connect() as connection:
            # As a response at once: FastAPI would look at each value of each of thousands of nodes.
            return JSONResponse(whole(connection, check_slice_name(name), peer.identity))

    @app.get("/slices/{name}/history")
    def get_history(
        name: str, peer: Annotated[Peer, users], limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> dict[str, Any]:
        with service.engine.connect() as connection:
            return past(connection, check_slice_name(name), peer.identity, limit)

    @app.get("/slivers")
    def get_slivers(node: Address, peer: Annotated[Peer, users]) -> dict[str, Any]:
        with service.engine.connect() as connection:
            return at_node(connection, node, peer.identity)


def whole(connection: Connection, name: str, caller: Identity | None) -> dict[str, Any]:
    """A slice of the caller's (None: anybody's) with its slivers, keys and operations. Raises Refusal."""
    found = slices.find(connection, name, caller)
    newest = operations.latest_of(connection, found.id, limit=1)
    return {
        **slice_json(found),
        "now": _now(connection),
        "slivers": [sliver_json(each) for each in slices.slivers(connection, found.id)],
        "keys": slices.keys(connection, found.id),
        "operations": [operation_json(each) for each in operations.open_of(connection, found.id)],
        "newest_operation": str(newest[0].id) if newest else None,
    }


def past(connection: Connection, name: str, caller: Identity | None, limit: int) -> dict[str, Any]:
    """The newest events of a slice, oldest first, also when it is gone."""
    found = even_if_gone(connection, name, caller)
    told = events.history(connection, found.id, limit=limit)
    return {"events": [{**event_json(event), "verb": verb} for event, verb in told]}


def at_node(connection: Connection, node: str, caller: Identity | None) -> dict[str, Any]:
    """The caller's slivers at one node (None: everybody's)."""
    found = slices.at_node(connection, node, caller)
    slivers = [{"slice": name, "owner": owner.name, **sliver_json(each)} for name, owner, each in found]
    return {"now": _now(connection), "slivers": slivers}


def _now(connection: Connection) -> str:
    moment: datetime = connection.execute(select(func.now())).scalar_one()
    return moment.isoformat()


def even_if_gone(connection: Connection, name: str, caller: Identity | None) -> slices.Slice:
    """The caller's slice of that name (None: anybody's); when it is none of his any more, the last one that was."""
    try:
        return slices.find(connection, name, caller)
    except Refusal:
        gone = slices.last_of(connection, name, caller)
        if gone is None:
            raise
        return gone
