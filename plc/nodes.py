"""Nodes as their operator handles them: which are enrolled, which are drained, which are gone for good."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from models.plc import drain as drained
from models.plc import removal, service
from plc import letters
from plc.accounts import Actor, find, require_admin, stated
from plc.ca import revoke
from plc.client.orders import Drain
from plc.journal import note
from plc.mail import post
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a node.

    Args:
        until: when it takes new slivers again by itself; None: when it is undrained.
        renews: whether leases that are there may be renewed.
        tell: the slices there, by their owners' e-mails: whom a letter goes to.
        replaces: whether slices that heal get other nodes in its place.
    """

    node: Identity
    reason: str
    until: datetime | None
    renews: bool
    tell: Mapping[str, Sequence[str]]
    replaces: bool = False


def enrolled(connection: Connection, actor: Actor, now: datetime) -> Sequence[Row[*tuple[Any, ...]]]:
    """Every node that is enrolled, by name: `name addresses enrolled_at`, and `who since reason renews replaces until`
    of its drain, None without one. Raises Refusal(NOT_ALLOWED)."""
    require_admin(actor, "list nodes")
    its = (drained.c.node == service.c.name) & _counts(now)
    wanted = (drained.c.reason, drained.c.renews, drained.c.replaces, drained.c.until)
    columns = (drained.c.who, drained.c.since, *wanted)
    found = select(service.c.name, service.c.addresses, service.c.enrolled_at, *columns).outerjoin(drained, its)
    return connection.execute(found.where(service.c.role == Role.NODE).order_by(service.c.name)).all()


def drains(connection: Connection, now: datetime) -> Sequence[Row[*tuple[Any, ...]]]:
    """Those that count now, for agents and nodes: `node reason renews replaces until`."""
    columns = (drained.c.node, drained.c.reason, drained.c.renews, drained.c.replaces, drained.c.until)
    return connection.execute(select(*columns).where(_counts(now)).order_by(drained.c.node)).all()


def drain(connection: Connection, actor: Actor, wish: Wish, now: datetime) -> None:
    """No new slivers there; again with other words, these count. Owners of what is there get a letter, once for each
    wish. Raises Refusal NOT_ALLOWED, NOT_FOUND, BAD_INPUT (no reason, an end in the past)."""
    require_admin(actor, "drain nodes")
    why = stated(wish.reason)
    if wish.until is not None and wish.until <= now:
        raise Refusal(Code.BAD_INPUT, "the drain would end in the past; give a later --until, or none")
    _require_enrolled(connection, wish.node)
    wanted = {"renews": wish.renews, "replaces": wish.replaces, "until": wish.until}
    values = {"who": actor.name, "reason": why, **wanted}
    made = insert(drained).values(node=wish.node.name, since=now, **values)
    again = made.on_conflict_do_update(index_elements=[drained.c.node], set_={**values, "since": now})
    connection.execute(again)
    how = ("" if wish.renews else ", no renewals") + (", others in its place" if wish.replaces else "")
    end = f" until {wish.until:%Y-%m-%d %H:%M} UTC" if wish.until else ""
    note(connection, now, actor.name, "drain", str(wish.node), f"{why}{end}{how}")
    for email, slices in wish.tell.items():
        who = find(connection, email)
        if who is not None:
            drain = Drain(wish.node.name, why, wish.renews, wish.until, wish.replaces)
            post(connection, letters.node_drained(who.email, who.name, drain, slices), now)


def undrain(connection: Connection, actor: Actor, node: Identity, now: datetime) -> bool:
    """It takes new slivers again; whether it was drained. Raises Refusal NOT_ALLOWED, NOT_FOUND."""
    require_admin(actor, "undrain nodes")
    _require_enrolled(connection, node)
    if not connection.execute(delete(drained).where(drained.c.node == node.name)).rowcount:
        return False
    note(connection, now, actor.name, "undrain", str(node))
    return True


def retire(connection: Connection, actor: Actor, node: Identity, reason: str, now: datetime) -> int:
    """For good: its certificates are revoked (how many), and it is not enrolled any more.

    It was drained before and has no slivers, which the caller has seen; or it is lost. Raises Refusal NOT_ALLOWED,
    NOT_FOUND, BAD_INPUT (no reason), BUSY (not drained).
    """
    require_admin(actor, "retire nodes")
    why = stated(reason)
    _require_enrolled(connection, node)
    if connection.scalar(select(drained.c.node).where(drained.c.node == node.name, _counts(now))) is None:
        raise Refusal(
            Code.BUSY, f"{node.name} still gets new slivers: first dslice node drain {node.name} --reason WHY"
        )
    connection.execute(delete(service).where(service.c.role == Role.NODE, service.c.name == node.name))
    connection.execute(delete(drained).where(drained.c.node == node.name))
    connection.execute(delete(removal).where(removal.c.node == node.name))
    note(connection, now, actor.name, "retire", str(node), why)
    return revoke(connection, node, f"node retired: {why}", now)


def forget_drains(connection: Connection, now: datetime) -> None:
    """Those that have ended by themselves."""
    connection.execute(delete(drained).where(drained.c.until <= now))


def _counts(now: datetime) -> Any:
    return or_(drained.c.until.is_(None), drained.c.until > now)


def _require_enrolled(connection: Connection, node: Identity) -> None:
    known = select(func.count()).where(service.c.role == Role.NODE, service.c.name == node.name)
    if node.role is not Role.NODE or not connection.scalar(known):
        raise Refusal(Code.NOT_FOUND, f"no node {node.name} is enrolled; dslice nodes lists them")
