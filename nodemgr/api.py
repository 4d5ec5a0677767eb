"""A node's calls (docs/protocol.md, "Calls"; all idempotent by content).

One application serves any number of nodes: which one a request is for stands in its ASGI scope (`at`). Endpoints are
coroutines on the node manager's loop; its store answers in place.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from agent.client import FrontDoor
from nodemgr.caller import Caller
from nodemgr.node import MAX_KEYS, Node
from nodemgr.slicekey import SlicePair
from nodemgr.storage.store import LeaseRow
from rpc.server import Guard, application, deny_by_default, open_route
from trust.authorize import Action
from trust.identity import Role
from trust.jws import MAX_TOKEN
from trust.peers import Peer
from trust.sshkeys import key_set_digest
from trust.store import TrustStore

NODE, FRONTDOOR = "dslice.node", "dslice.frontdoor"  # keys in the ASGI scope
MAX_KEY = 16 * 1024

Token = Annotated[str, Field(max_length=MAX_TOKEN)]
KeyText = Annotated[str, Field(max_length=MAX_KEY)]
Generation = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
DelegationHeader = Annotated[str | None, Header(alias="Dslice-Delegation", max_length=MAX_TOKEN)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RedeemBody(_Body):
    """`POST /leases`."""

    ticket: Token


class CreateBody(_Body):
    """`PUT /slivers/{slice}`."""

    lease: Token
    private_key: KeyText
    public_key: KeyText
    pair_generation: Generation = 0


class PairBody(_Body):
    """`PUT /slivers/{slice}/pair`: the slice's own key pair."""

    slice_id: UUID
    generation: Generation
    private_key: KeyText
    public_key: KeyText


class AccessBody(_Body):
    """`PUT /slivers/{slice}/access`: the whole key set."""

    slice_id: UUID
    generation: Generation
    keys: Annotated[list[KeyText], Field(max_length=MAX_KEYS)]


class RenewBody(_Body):
    """`POST /slivers/{slice}/renew`."""

    slice_id: UUID
    from_generation: Annotated[Generation, Field(ge=1, le=2**31 - 2)]


class DeleteBody(_Body):
    """`DELETE /slivers/{slice}`."""

    slice_id: UUID
    jti: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


def at(app: ASGIApp, node: Node, frontdoor: FrontDoor) -> ASGIApp:
    """The application as one node serves it."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope[NODE], scope[FRONTDOOR] = node, frontdoor
        bind_contextvars(node=node.identity.name)  # each request is a task of its own
        await app(scope, receive, send)

    return serve


def create_app(trust: TrustStore) -> FastAPI:
    """The server application of all nodes that trust this store; serve it through `at`."""
    app = application("dslice node manager")
    guard = Guard(trust)
    _add_leases(app, guard)
    _add_slivers(app, guard)
    _add_reads(app, guard)
    deny_by_default(app)  # `serve` sees only what `at` gives
    return app


# async, although it waits for nothing: FastAPI would run a plain one in a thread, at every request.
async def _node(request: Request) -> Node:
    node: Node = request.scope[NODE]
    return node


Here = Annotated[Node, Depends(_node)]


def _callers(guard: Guard, action: Action | None) -> Any:
    """Who calls, and for whom; refused if the revocation list is too old for `action`."""

    async def caller(
        peer: Annotated[Peer, Depends(guard.role(Role.USER, Role.SVM, action=action))],
        dslice_delegation: DelegationHeader = None,
    ) -> Caller:
        return Caller.of(peer, dslice_delegation, guard.store)

    return Depends(caller)


def _add_leases(app: FastAPI, guard: Guard) -> None:
    creator = _callers(guard, Action.CREATE)
    renewer = _callers(guard, Action.RENEW)

    @app.post("/leases", status_code=201)
    async def post_lease(node: Here, body: RedeemBody, caller: Annotated[Caller, creator]) -> Any:
        return _lease(node.redeem(caller, body.ticket))

    @app.post("/slivers/{slice}/renew")
    async def post_renew(node: Here, slice: str, body: RenewBody, caller: Annotated[Caller, renewer]) -> Any:
        return _lease(node.renew(caller, slice, body.slice_id, body.from_generation))


def _add_slivers(app: FastAPI, guard: Guard) -> None:
    creator = _callers(guard, Action.CREATE)
    # Whether keys are added or only removed is seen in the body: `Node.set_access` asks for a fresh list then.
    remover = _callers(guard, Action.REMOVE_KEYS)
    deleter = _callers(guard, Action.DELETE)

    @app.put("/slivers/{slice}")
    async def put_sliver(
        request: Request, node: Here, slice: str, body: CreateBody, caller: Annotated[Caller, creator]
    ) -> Any:
        pair = (body.private_key, body.public_key, body.pair_generation)
        made = await node.create(caller, slice, body.lease, *pair)
        return _sliver(made, request)

    @app.put("/slivers/{slice}/access")
    async def put_access(node: Here, slice: str, body: AccessBody, caller: Annotated[Caller, remover]) -> Any:
        return {"generation": await node.set_access(caller, slice, body.slice_id, body.generation, body.keys)}

    @app.put("/slivers/{slice}/pair")
    async def put_pair(node: Here, slice: str, body: PairBody, caller: Annotated[Caller, creator]) -> Any:
        pair = SlicePair(body.generation, body.private_key, body.public_key)
        return {"generation": await node.set_pair(caller, slice, body.slice_id, pair)}

    @app.delete("/slivers/{slice}", status_code=204)
    async def delete_sliver(node: Here, slice: str, body: DeleteBody, caller: Annotated[Caller, deleter]) -> None:
        await node.delete(caller, slice, body.slice_id, body.jti)


def _add_reads(app: FastAPI, guard: Guard) -> None:
    reader = _callers(guard, None)

    @app.get("/slivers")
    async def get_slivers(request: Request, node: Here, caller: Annotated[Caller, reader]) -> Any:
        return {"slivers": _slivers(node.inventory(caller), request)}

    @app.get("/slivers/{slice}")
    async def get_sliver(request: Request, node: Here, slice: str, caller: Annotated[Caller, reader]) -> Any:
        return _sliver(node.get(caller, slice), request)

    @app.get("/healthz")
    @open_route
    async def healthz(node: Here) -> Any:
        found: dict[str, Any] = {"status": "disk-full" if node.disk_full else "ok", "slivers": node.store.taken()}
        return found | ({"disk_free_mb": node.disk.free_mb} if node.disk else {})


def _lease(lease: LeaseRow) -> dict[str, Any]:
    return {"lease": lease.token, "generation": lease.generation, "expires_at": lease.expires_at.isoformat()}


def _slivers(leases: Sequence[LeaseRow], request: Request) -> list[dict[str, Any]]:
    return [_sliver(lease, request) for lease in leases]


def _sliver(lease: LeaseRow, request: Request) -> dict[str, Any]:
    return {
        "slice": lease.slice,
        "slice_id": str(lease.slice_id),
        "owner": lease.owner.uri,
        "state": lease.state,
        "generation": lease.generation,
        "key_generation": lease.key_generation,
        "expires_at": lease.expires_at.isoformat(),
        "frontdoor": asdict(request.scope[FRONTDOOR]),
        "has_vm": lease.state == "running",
        "keys": key_set_digest(lease.keys),
    }
