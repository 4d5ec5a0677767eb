"""A node's calls (docs/protocol.md, "Calls"; all idempotent by content).

One application serves any number of nodes: which one a request is for stands in its ASGI scope (`at`). Endpoints are
coroutines on the node manager's loop; its store answers in place.
"""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from agent.client import FrontDoor
from nodemgr.caller import Caller
from nodemgr.node import MAX_KEYS, Node
from nodemgr.operating import add_operating
from nodemgr.orders import told_to
from nodemgr.power import Order, What, obey
from nodemgr.slicekey import SlicePair
from nodemgr.storage.store import LeaseRow
from rpc.calls import Answer, Call, Calls
from rpc.guard import Guard, RoleGuard
from rpc.health import Look, answer, found, own
from trust.authorize import Action
from trust.documents import MAX_LEASELEN
from trust.errors import Code, Refusal, printable
from trust.identity import Role
from trust.jws import MAX_TOKEN
from trust.sshkeys import key_set_digest
from trust.store import TrustStore

NODE, FRONTDOOR = "dslice.node", "dslice.frontdoor"  # keys in the ASGI scope
DELEGATION = b"dslice-delegation"  # header
MAX_KEY = 16 * 1024

Token = Annotated[str, Field(max_length=MAX_TOKEN)]
KeyText = Annotated[str, Field(max_length=MAX_KEY)]
Generation = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]


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
    leaselen: Annotated[int, Field(ge=1, le=MAX_LEASELEN, strict=True)] | None = None


class OrderBody(_Body):
    """`POST /slivers/{slice}/stop`, `start`, `restart` and `reset`."""

    slice_id: UUID
    given_at: AwareDatetime


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


def create_app(trust: TrustStore) -> Calls:
    """The server application of all nodes that trust this store; serve it through `at`."""
    calls, guard = Calls(), Guard(trust)
    _add_leases(calls, guard)
    _add_slivers(calls, guard)
    for what in What:
        _add_order(calls, guard, what)
    _add_reads(calls, guard)
    add_operating(calls, guard, NODE)
    return calls


def _callers(guard: Guard, action: Action | None) -> RoleGuard:
    """Who may call; refused if the revocation list is too old for `action`."""
    return guard.role(Role.USER, Role.SVM, action=action)


def _add_leases(calls: Calls, guard: Guard) -> None:
    creator, renewer = _callers(guard, Action.CREATE), _callers(guard, Action.RENEW)

    @calls.guarded("POST", "/leases", creator, status=201)
    async def post_lease(call: Call) -> Any:
        node, caller = _called(call, guard)
        redeem = partial(node.redeem, caller, call.body(RedeemBody).ticket)
        lease = await node.store.together(redeem)
        bind_contextvars(slice=lease.slice)
        return _lease(lease)

    @calls.guarded("POST", "/slivers/{slice}/renew", renewer)
    async def post_renew(call: Call) -> Any:
        (node, caller), body = _called(call, guard), call.body(RenewBody)
        renew = partial(node.renew, caller, call.names["slice"], body.slice_id, body.from_generation, body.leaselen)
        return _lease(await node.store.together(renew))


def _add_slivers(calls: Calls, guard: Guard) -> None:
    creator, deleter = _callers(guard, Action.CREATE), _callers(guard, Action.DELETE)
    # Whether keys are added or only removed is seen in the body: `Node.set_access` asks for a fresh list then.
    remover = _callers(guard, Action.REMOVE_KEYS)

    @calls.guarded("PUT", "/slivers/{slice}", creator)
    async def put_sliver(call: Call) -> Any:
        (node, caller), body = _called(call, guard), call.body(CreateBody)
        pair = (body.private_key, body.public_key, body.pair_generation)
        return _sliver(await node.create(caller, call.names["slice"], body.lease, *pair), call)

    @calls.guarded("PUT", "/slivers/{slice}/access", remover)
    async def put_access(call: Call) -> Any:
        (node, caller), body = _called(call, guard), call.body(AccessBody)
        slice = call.names["slice"]
        return {"generation": await node.set_access(caller, slice, body.slice_id, body.generation, body.keys)}

    @calls.guarded("PUT", "/slivers/{slice}/pair", creator)
    async def put_pair(call: Call) -> Any:
        (node, caller), body = _called(call, guard), call.body(PairBody)
        pair = SlicePair(body.generation, body.private_key, body.public_key)
        return {"generation": await node.set_pair(caller, call.names["slice"], body.slice_id, pair)}

    @calls.guarded("DELETE", "/slivers/{slice}", deleter, status=204)
    async def delete_sliver(call: Call) -> None:
        (node, caller), body = _called(call, guard), call.body(DeleteBody)
        await node.delete(caller, call.names["slice"], body.slice_id, body.jti)


def _add_order(calls: Calls, guard: Guard, what: What) -> None:
    @calls.guarded("POST", f"/slivers/{{slice}}/{what}", _callers(guard, what.action))
    async def post_order(call: Call) -> Any:
        (node, caller), body = _called(call, guard), call.body(OrderBody)
        return _sliver(await obey(node, caller, call.names["slice"], Order(what, body.slice_id, body.given_at)), call)


def _add_reads(calls: Calls, guard: Guard) -> None:
    reader = _callers(guard, None)

    @calls.guarded("GET", "/slivers", reader)
    async def get_slivers(call: Call) -> Any:
        node, caller = _called(call, guard)
        there = node.inventory(caller)
        told = {"removed": told_to(caller.svm, node, there), "leaving": node.orders.leaving(node.now())}
        return {"slivers": [_sliver(lease, call) for lease in there]} | {name: of for name, of in told.items() if of}

    @calls.guarded("GET", "/slivers/{slice}", reader)
    async def get_sliver(call: Call) -> Any:
        node, caller = _called(call, guard)
        return _sliver(node.get(caller, call.names["slice"]), call)

    @calls.opened("GET", "/healthz")
    async def healthz(call: Call) -> Any:
        node: Node = call.scope[NODE]
        status, body = answer(found(looks_of(node)))
        more = {"slivers": node.store.taken()} | ({"disk_free_mb": node.disk.free_mb} if node.disk else {})
        return Answer(status, body | more)


def looks_of(node: Node) -> dict[str, Look]:
    """What it needs to take slivers."""
    return {**own(node.credentials, node.trust), "disk": partial(_disk, node)}


def _disk(node: Node) -> str | None:
    if not node.disk_full:
        return None
    return "too little is free: no new sliver is made, and one that fills it is stopped"


def _called(call: Call, guard: Guard) -> tuple[Node, Caller]:
    """The node that is called, and by whom and for whom."""
    assert call.peer is not None  # noqa: S101  # the route is guarded
    if "slice" in call.names:
        bind_contextvars(slice=printable(call.names["slice"], 64))
    delegation = call.header(DELEGATION)
    if delegation is not None and len(delegation) > MAX_TOKEN:
        raise Refusal(Code.BAD_INPUT, f"the header Dslice-Delegation is longer than {MAX_TOKEN} bytes; sign another")
    return call.scope[NODE], Caller.of(call.peer, delegation, guard.store)


def _lease(lease: LeaseRow) -> dict[str, Any]:
    return {"lease": lease.token, "generation": lease.generation, "expires_at": lease.expires_at.isoformat()}


def _stopped(lease: LeaseRow, call: Call) -> dict[str, Any] | None:
    """Why its sliver does not run, if it has one and knows."""
    power = call.scope[NODE].store.power(lease.slice_id)
    if lease.state != "leased" or not lease.has_sliver or power.since is None:
        return None
    return {"ordered": power.ordered, "since": power.since.isoformat(), "reason": power.reason}


def _sliver(lease: LeaseRow, call: Call) -> dict[str, Any]:
    return {
        "slice": lease.slice,
        "slice_id": str(lease.slice_id),
        "owner": lease.owner.uri,
        "state": lease.state,
        "generation": lease.generation,
        "key_generation": lease.key_generation,
        "expires_at": lease.expires_at.isoformat(),
        "frontdoor": asdict(call.scope[FRONTDOOR]),
        "has_vm": lease.state == "running",
        "keys": key_set_digest(lease.keys),
        "stopped": _stopped(lease, call),
    }
