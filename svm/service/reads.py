"""Reads of slices: what nodelist, expirations, status, slices, history, ssh and ssh-config are made of."""

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
            found = slices.find(connection, check_slice_name(name), peer.identity)
            newest = operations.latest_of(connection, found.id, limit=1)
            told = {
                **slice_json(found),
                "now": connection.execute(select(func.now())).scalar_one().isoformat(),
                "slivers": [sliver_json(each) for each in slices.slivers(connection, found.id)],
                "keys": slices.keys(connection, found.id),
                "operations": [operation_json(each) for each in operations.open_of(connection, found.id)],
                "newest_operation": str(newest[0].id) if newest else None,
            }
        # As a response at once: FastAPI would look at each value of each of thousands of nodes.
        return JSONResponse(told)

    @app.get("/slices/{name}/history")
    def get_history(
        name: str, peer: Annotated[Peer, users], limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> dict[str, Any]:
        with service.engine.connect() as connection:
            found = even_if_gone(connection, check_slice_name(name), peer.identity)
            told = events.history(connection, found.id, limit=limit)
        return {"events": [{**event_json(event), "verb": verb} for event, verb in told]}

    @app.get("/slivers")
    def get_slivers(node: Address, peer: Annotated[Peer, users]) -> dict[str, Any]:
        with service.engine.connect() as connection:
            found = slices.at_node(connection, node, peer.identity)
            now = connection.execute(select(func.now())).scalar_one().isoformat()
        return {"now": now, "slivers": [{"slice": name, **sliver_json(each)} for name, each in found]}


def even_if_gone(connection: Connection, name: str, caller: Identity) -> slices.Slice:
    """The caller's slice of that name; when it is none of his any more, the last one that was."""
    try:
        return slices.find(connection, name, caller)
    except Refusal:
        gone = slices.last_of(connection, name, caller)
        if gone is None:
            raise
        return gone
