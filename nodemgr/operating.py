"""A node's call for plc's operator: everything that it holds, whoever made it."""

from typing import Any

from nodemgr.node import Node
from nodemgr.storage.store import LeaseRow
from rpc.calls import Call, Calls
from rpc.guard import Guard
from trust.authorize import require_operator
from trust.identity import Role


def add_operating(calls: Calls, guard: Guard, at: str) -> None:
    """`GET /operator/slivers`; `at`: under which the ASGI scope has the node."""

    @calls.guarded("GET", "/operator/slivers", guard.role(Role.USER, Role.PLC))
    async def get_all(call: Call) -> Any:
        assert call.peer is not None  # noqa: S101  # the route is guarded
        require_operator(call.peer)
        node: Node = call.scope[at]
        shown = [_shown(lease) for lease in node.store.leases()]
        return {"slivers": shown, "leaving": node.orders.leaving(node.now())}


def _shown(lease: LeaseRow) -> dict[str, Any]:
    return {
        "slice": lease.slice,
        "slice_id": str(lease.slice_id),
        "owner": lease.owner.name,
        "via": lease.via.name if lease.via else None,
        "state": lease.state,
        "expires_at": lease.expires_at.isoformat(),
    }
