"""What plc's operator reads: everybody's slices, and which slivers the tables know (`dslice slices`, `dslice orphans`).

What a user reads of his own slices is there for all slices, too, under the same paths (`dslice web`). No slice changes
here: what the operator changes, he has nodes change, by orders of his own (docs/protocol.md, "Orders"), and svmd looks
at these nodes at once when he asks for it.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import BackgroundTasks, Depends, FastAPI, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from lifecycle import known, looks, operations, slices
from rpc.server import Guard
from svm.service import reads
from svm.service.ads import Lists
from svm.service.bodies import MAX_LISTED, Address, operation_json, slice_json
from svm.service.context import Service
from svm.service.doctor import diagnosis
from svm.service.operations import LastEventId
from svm.service.streaming import events_of
from trust.authorize import require_operator
from trust.identity import Identity, Role
from trust.names import check_slice_name
from trust.peers import Peer

Word = Annotated[str | None, Query(max_length=300)]


def add_operator(app: FastAPI, service: Service, guard: Guard, lists: Lists) -> None:
    """`GET /operator/slices`, `/operator/slices/{name}` and its history, `/operator/doctor`, and what follows."""
    operators = Depends(guard.role(Role.USER, Role.PLC))

    @app.get("/operator/slices")
    def get_everyones(peer: Annotated[Peer, operators], owner: Word = None, node: Word = None) -> Response:
        require_operator(peer)
        whose = Identity.user(owner) if owner else None
        with service.engine.connect() as connection:
            found = slices.everyones(connection, whose, node)
        return JSONResponse({"now": service.now().isoformat(), "slices": [slice_json(each) for each in found]})

    @app.get("/operator/slices/{name}")
    def get_anyones(name: str, peer: Annotated[Peer, operators]) -> Response:
        require_operator(peer)
        with service.engine.connect() as connection:
            return JSONResponse(reads.whole(connection, check_slice_name(name), None))

    @app.get("/operator/slices/{name}/history")
    def get_past(
        name: str, peer: Annotated[Peer, operators], limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> dict[str, Any]:
        require_operator(peer)
        with service.engine.connect() as connection:
            return reads.past(connection, check_slice_name(name), None, limit)

    @app.get("/operator/doctor")
    async def get_diagnosis(peer: Annotated[Peer, operators]) -> dict[str, Any]:
        require_operator(peer)
        return await diagnosis(service, lists, None)

    _add_slivers(app, service, operators)
    _add_looks(app, service, operators)
    _add_operations(app, service, guard, operators)


def _add_slivers(app: FastAPI, service: Service, operators: Any) -> None:
    """`GET /operator/slivers` and `/operator/nodes/{node}`."""

    @app.get("/operator/slivers")
    def get_known(peer: Annotated[Peer, operators]) -> dict[str, Any]:
        require_operator(peer)
        with service.engine.connect() as connection:
            return {"slivers": known.known(connection), "orphans": known.orphans(connection)}

    @app.get("/operator/nodes/{node}")
    def get_at_node(node: Address, peer: Annotated[Peer, operators]) -> dict[str, Any]:
        require_operator(peer)
        with service.engine.connect() as connection:
            return reads.at_node(connection, node, None)


class Looks(BaseModel):
    """Nodes, by name or address."""

    model_config = ConfigDict(extra="forbid")

    nodes: Annotated[list[Annotated[str, Field(max_length=300)]], Field(min_length=1, max_length=MAX_LISTED)]


def _add_looks(app: FastAPI, service: Service, operators: Any) -> None:
    """`POST /operator/looks`: what the next round of reconcile would see at these nodes, now."""

    @app.post("/operator/looks", status_code=202)
    def post_looks(body: Looks, peer: Annotated[Peer, operators], after: BackgroundTasks) -> dict[str, Any]:
        require_operator(peer)
        with service.engine.begin() as connection:
            refs = looks.begin(connection, service.identity, body.nodes, "operator")
        after.add_task(service.publish, refs or [])
        return {"began": refs is not None, "nodes": [ref.node for ref in refs or []]}


def _add_operations(app: FastAPI, service: Service, guard: Guard, operators: Any) -> None:
    """`GET /operator/operations/{id}` and its events."""

    @app.get("/operator/operations/{operation}")
    def get_anyones_operation(operation: UUID, peer: Annotated[Peer, operators]) -> dict[str, Any]:
        require_operator(peer)
        with service.engine.connect() as connection:
            return operation_json(operations.read(connection, operation))

    @app.get("/operator/operations/{operation}/events")
    def get_anyones_events(
        operation: UUID, peer: Annotated[Peer, operators], last_event_id: LastEventId = 0, brief: bool = False
    ) -> Response:
        require_operator(peer)
        with service.engine.connect() as connection:
            operations.read(connection, operation)
        stream = events_of(service, guard, operation, peer, last_event_id, brief=brief)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
