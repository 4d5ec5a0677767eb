"""Routes of the operator's hand: nodes, drains, orders to remove slivers; and of those who heed them."""

from hashlib import sha256

from fastapi import APIRouter, Depends, Query

from plc import nodes, removals
from plc.accounts import Actor
from plc.api.bodies import DoneBody, DrainBody, OrdersBody, RetirementBody
from plc.api.callers import Callers
from plc.central import Central
from plc.client.orders import Drain, sign_drains
from plc.nodes import Wish
from plc.removals import Signed
from trust.authorize import Action
from trust.identity import Identity, Role
from trust.orders import Signer
from trust.peers import Peer


def node_routes(central: Central, callers: Callers) -> APIRouter:
    """Admins and the operator: nodes."""
    router = APIRouter()

    @router.get("/nodes")
    def listed(actor: Actor = Depends(callers.operator())) -> dict[str, object]:
        with central.begin() as connection:
            found = nodes.enrolled(connection, actor, central.clock.now())
        return {"nodes": [dict(row._mapping) for row in found]}

    @router.put("/nodes/{node}/drain", status_code=204)
    def drain(node: str, body: DrainBody, actor: Actor = Depends(callers.operator())) -> None:
        wish = Wish(Identity(Role.NODE, node), body.reason, body.until, body.renews, body.tell, body.replaces)
        with central.begin() as connection:
            nodes.drain(connection, actor, wish, central.clock.now())

    @router.delete("/nodes/{node}/drain", status_code=204)
    def undrain(node: str, actor: Actor = Depends(callers.operator())) -> None:
        with central.begin() as connection:
            nodes.undrain(connection, actor, Identity(Role.NODE, node), central.clock.now())

    @router.delete("/nodes/{node}", status_code=204)
    def retire(node: str, body: RetirementBody, actor: Actor = Depends(callers.operator())) -> None:
        with central.begin() as connection:
            nodes.retire(connection, actor, Identity(Role.NODE, node), body.reason, central.clock.now())

    return router


def order_routes(central: Central, callers: Callers) -> APIRouter:
    """Admins and the operator place orders; nodes and agents fetch them."""
    router = APIRouter()
    heeding, obeying = callers.peer(Role.NODE, Role.AGENT), callers.peer(Role.NODE)

    @router.get("/orders")
    def wanted(
        peer: Peer = Depends(heeding), tag: str = Query(default="", max_length=100), everyones: bool = False
    ) -> dict[str, object]:
        now, node = central.clock.now(), None if everyones else peer.identity.name
        with central.begin() as connection:
            drains = [Drain(**row._mapping) for row in nodes.drains(connection, now)]
            orders = removals.listed(connection, node, now) if peer.identity.role is Role.NODE else []
        told = [{"order": row.token, "signer": row.signer, "done": row.done_at is not None} for row in orders]
        current = sha256(repr((drains, told)).encode()).hexdigest()
        if tag == current:
            return {"tag": tag}
        return {"tag": current, "drains": sign_drains(drains, central.authority.key, now), "removals": told}

    @router.put("/orders/done", status_code=204)
    def done(body: DoneBody, peer: Peer = Depends(obeying)) -> None:
        with central.begin() as connection:
            removals.done(connection, peer.identity, body.orders, central.clock.now())

    @router.post("/orders", status_code=202)
    def place(body: OrdersBody, actor: Actor = Depends(callers.operator(action=Action.CREATE))) -> None:
        signer = Signer.PLC if actor.is_operator else Signer.ADMIN
        signed = [Signed(token, signer) for token in body.orders]
        with central.begin() as connection:
            removals.place(connection, actor, callers.guard.store, signed, body.free, central.clock.now())

    @router.post("/orders/standing")
    def standing(body: DoneBody, actor: Actor = Depends(callers.operator())) -> dict[str, object]:
        with central.begin() as connection:
            return {"obeyed": removals.standing(connection, actor, body.orders)}

    return router
