"""Operations: ask for one, follow it, cancel it."""

import logging
from typing import Annotated, Any
from uuid import UUID

from fastapi import BackgroundTasks, Depends, FastAPI, Header, Response
from starlette.responses import StreamingResponse

from lifecycle import operations
from rpc.server import Guard
from svm.service.authorization import Headers, authorized_request, require_pi
from svm.service.bodies import AnyBody, DelegationHeader, IdempotencyKey, RenewalHeader, operation_json
from svm.service.context import Service
from svm.service.streaming import events_of
from trust.actions import Action
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.peers import Peer

log = logging.getLogger(__name__)

LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, le=2**31 - 1)]


def add_operations(app: FastAPI, service: Service, guard: Guard) -> None:
    """`POST /operations`, and all about one operation."""
    users = Depends(guard.role(Role.USER))

    @app.post("/operations", status_code=202)
    def post_operation(
        body: AnyBody,
        peer: Annotated[Peer, users],
        response: Response,
        after: BackgroundTasks,
        dslice_delegation: DelegationHeader = None,
        dslice_renewal: RenewalHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> dict[str, Any]:
        headers = Headers(dslice_delegation, dslice_renewal, idempotency_key)
        asked = authorized_request(body, peer, service.store, service.identity, headers)
        service.agents.named(asked.agents)
        with service.engine.begin() as connection:
            started = operations.start(connection, asked)
        _log("asked for", started.operation, peer, verb=asked.verb, slice=started.slice)
        # After the answer: the sweep publishes what this loses, so nobody has to wait for the broker.
        after.add_task(service.publish, started.publish)
        response.headers["Location"] = f"/operations/{started.operation}"
        return {"operation": str(started.operation), "slice": started.slice, "existing": started.existing}

    add_following(app, service, guard)


def add_following(app: FastAPI, service: Service, guard: Guard) -> None:
    """`GET|DELETE /operations/{id}`, `GET /operations/{id}/events`."""
    users = Depends(guard.role(Role.USER))
    cancellers = Depends(guard.role(Role.USER, action=Action.DELETE))

    @app.get("/operations/{operation}")
    def get_operation(operation: UUID, peer: Annotated[Peer, users]) -> dict[str, Any]:
        return operation_json(own_operation(service, operation, peer))

    @app.delete("/operations/{operation}", status_code=202)
    def delete_operation(operation: UUID, peer: Annotated[Peer, cancellers], after: BackgroundTasks) -> dict[str, Any]:
        require_pi(peer)
        own_operation(service, operation, peer)
        with service.engine.begin() as connection:
            due = operations.cancel(connection, operation)
        _log("cancelled", operation, peer)
        after.add_task(service.publish, due)
        return operation_json(own_operation(service, operation, peer))

    @app.get("/operations/{operation}/events")
    def get_events(
        operation: UUID, peer: Annotated[Peer, users], last_event_id: LastEventId = 0, brief: bool = False
    ) -> Response:
        own_operation(service, operation, peer)
        stream = events_of(service, guard, operation, peer, last_event_id, brief=brief)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _log(what: str, operation: UUID, peer: Peer, **more: str) -> None:
    log.info("operation %s", what, extra={"operation": str(operation), "by": peer.identity.name, **more})


def own_operation(service: Service, operation: UUID, peer: Peer) -> operations.Operation:
    """The caller's operation: knowing an id gives no right to it. Raises Refusal(NOT_FOUND | NOT_OWNER)."""
    with service.engine.connect() as connection:
        found = operations.read(connection, operation)
    if found.owner != peer.identity:
        raise Refusal(Code.NOT_OWNER, "that operation is another user's; see yours with svm slices")
    return found
