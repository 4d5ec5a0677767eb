"""From a ticket to the lease that it earns, signed by the node."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from nodemgr.admission import Held, Room, admit, lease_end
from nodemgr.caller import Caller
from nodemgr.storage.store import LeaseRow
from trust.documents import Lease, Ticket, sign_lease
from trust.errors import Code, Refusal
from trust.identity import Identity

if TYPE_CHECKING:
    from nodemgr.node import Node


def grant(node: Node, ticket: Ticket, caller: Caller, held: LeaseRow | None) -> LeaseRow:
    """The lease that a ticket earns: a first one, or another for a slice that is here already."""
    if held is None and node.disk_full:
        raise Refusal(Code.OVER_CAPACITY, "the disk of this node is full; take another node")
    (node.orders.require_renewals if held else node.orders.require_room)(node.now())
    capacity = replace(node.capacity, slots=0) if node.full else node.capacity
    holder = Held(held.slice_id, held.owner, held.needs, held.has_sliver) if held else None
    admit(ticket, agents=node.agents, held=holder, room=replace(room_of(node), capacity=capacity))
    if node.images.find(ticket.needs, node.driver):
        node.images.register(node.identity.name, node.store.path)
    before = held.generation if held else node.store.past_generation(ticket.slice_id)
    return signed(
        node,
        LeaseRow(
            slice=ticket.slice,
            slice_id=ticket.slice_id,
            owner=ticket.owner,
            via=caller.svm,
            jti=ticket.jti,
            leaselen=ticket.leaselen,
            generation=before + 1,
            token="",
            expires_at=lease_end(node.now(), ticket.leaselen, capacity.longest, held.expires_at if held else None),
            state=held.state if held else "leased",
            slice_key=held.slice_key if held else None,
            key_generation=held.key_generation if held else 0,
            keys=held.keys if held else (),
            pair_generation=held.pair_generation if held else 0,
            needs=ticket.needs,
        ),
    )


def room_of(node: Node) -> Room:
    """What the node has, and what is promised."""
    writable = max(node.disk.room_mb - node.driver.owed_mb, 0) if node.disk else None
    return Room(node.capacity, node.store.promised(), writable)


def signed(node: Node, lease: LeaseRow) -> LeaseRow:
    """The same with the document that says so."""
    document = Lease(
        issuer=node.identity,
        owner=lease.owner,
        slice=lease.slice,
        slice_id=lease.slice_id,
        generation=lease.generation,
        jti=str(uuid4()),
        issued_at=node.now().replace(microsecond=0),
        expires_at=lease.expires_at,
        needs=lease.needs,
    )
    return replace(lease, token=sign_lease(document, node.credentials.key, node.credentials.certificate))


def too_many(owner: Identity) -> Refusal:
    """For whom the store remembers no more tickets (`Store.may_burn`)."""
    return Refusal(Code.BUSY, f"too many tickets of {owner.name} were used or given up here; try again in an hour")


def same_lease(ticket: Ticket, held: LeaseRow | None) -> LeaseRow:
    """What a ticket that was used made. Refusal(TICKET_EXPIRED) when that is gone."""
    if held is None or held.jti != ticket.jti:
        raise Refusal(Code.TICKET_EXPIRED, "this ticket was used, and its lease is gone or replaced; get a new ticket")
    return held
