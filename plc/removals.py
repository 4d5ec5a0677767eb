"""Orders to remove slivers: taken from admins and the operator, handed to nodes, which check each on their own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from models.plc import account, removal, slice_name
from plc import letters
from plc.accounts import Actor, load, require_admin
from plc.client.values import PLC
from plc.journal import note
from plc.mail import post
from plc.names import LONGEST_HOLD
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.orders import Order, Signer, values_of, verify_order
from trust.store import TrustStore

DONE_DAYS = 1  # that an order which was obeyed is still told: its node says of it why a sliver is gone


@dataclass(frozen=True, slots=True)
class Signed:
    """An order as it came."""

    token: str
    signer: Signer


def place(
    connection: Connection, actor: Actor, store: TrustStore, signed: Sequence[Signed], free: bool, now: datetime
) -> list[Order]:
    """Take these orders, of one slice and with one reason; its owner gets a letter. The same ones again change nothing.

    Args:
        free: the slice's name is given back, too: every node removes its sliver.

    Raises Refusal: NOT_ALLOWED (no admin, or signed by another than who sends them), BAD_INPUT, or as `verify_order`.
    """
    require_admin(actor, "have slivers removed")
    orders = [verify_order(one.token, one.signer, store) for one in signed]
    _require_alike(actor, orders, free)
    rows = [
        {**values_of(order), "token": one.token, "signer": one.signer, "who": actor.name}
        for order, one in zip(orders, signed, strict=True)
    ]
    new = insert(removal).values(rows).on_conflict_do_nothing().returning(removal.c.jti)
    if not connection.execute(new).all():
        return orders
    first = orders[0]
    nodes = [order.node.name if order.node else "every node" for order in orders]
    owner = _owner(connection, first)
    what = "delete-slice" if free else "evict"
    note(
        connection, now, actor.name, what, owner or first.slice, f"{first.slice} on {', '.join(nodes)}: {first.reason}"
    )
    if owner is not None:
        who = load(connection, owner)
        post(connection, letters.slivers_removed(who.email, who.name, first.slice, nodes, first.reason, free), now)
    if free:
        _free_name(connection, first, now)
    return orders


def done(connection: Connection, node: Identity, orders: Collection[str], now: datetime) -> None:
    """A node has obeyed these (ids); only its own count."""
    its = removal.c.node == node.name, removal.c.jti.in_(list(orders)), removal.c.done_at.is_(None)
    connection.execute(update(removal).where(*its).values(done_at=now))


def listed(connection: Connection, node: str | None, now: datetime) -> Sequence[Row[*tuple[Any, ...]]]:
    """What a node is told (None: those of all): `jti token signer done_at`, the oldest first."""
    told = removal.c.done_at.is_(None) | (removal.c.done_at > now - timedelta(days=DONE_DAYS))
    columns = (removal.c.jti, removal.c.token, removal.c.signer, removal.c.done_at)
    found = select(*columns).where(removal.c.expires_at > now, told)
    if node is not None:
        found = found.where(or_(removal.c.node.is_(None), removal.c.node == node))
    return connection.execute(found.order_by(removal.c.made_at, removal.c.jti)).all()


def standing(connection: Connection, actor: Actor, jtis: Collection[str]) -> dict[str, bool]:
    """Of these orders, which are obeyed."""
    require_admin(actor, "follow orders")
    rows = connection.execute(select(removal.c.jti, removal.c.done_at).where(removal.c.jti.in_(list(jtis))))
    return {row.jti: row.done_at is not None for row in rows}


def forget_removals(connection: Connection, now: datetime) -> None:
    """Those that nobody is told any more."""
    old = removal.c.done_at < now - timedelta(days=DONE_DAYS)
    connection.execute(delete(removal).where(or_(removal.c.expires_at < now, old)))


def _require_alike(actor: Actor, orders: Sequence[Order], free: bool) -> None:
    if not orders:
        raise Refusal(Code.BAD_INPUT, "no order was given; sign one")
    for order in orders:
        if order.issuer.name != (PLC.name if actor.is_operator else actor.name):
            raise Refusal(Code.NOT_ALLOWED, f"this order is signed by {order.issuer}, not by you; sign your own")
    if len({(order.slice, order.slice_id, order.reason) for order in orders}) != 1:
        raise Refusal(Code.BAD_INPUT, "these orders are about several slices; send one slice's at a time")
    if free and all(order.node is not None for order in orders):
        raise Refusal(Code.BAD_INPUT, "a slice is deleted on every node; sign an order for all of them, too")


def _owner(connection: Connection, order: Order) -> str | None:
    """The e-mail of the slice's owner; None where its registration is forgotten."""
    owner = select(account.c.email).join(slice_name, slice_name.c.account_id == account.c.id)
    found: str | None = connection.scalar(owner.where(slice_name.c.slice_id == order.slice_id))
    return found


def _free_name(connection: Connection, order: Order, now: datetime) -> None:
    """The same owner may take it at once, others when the last lease has certainly ended."""
    its = slice_name.c.slice_id == order.slice_id, slice_name.c.released_at.is_(None)
    held = now + timedelta(seconds=LONGEST_HOLD)
    connection.execute(update(slice_name).where(*its).values(released_at=now, held_until=held))
