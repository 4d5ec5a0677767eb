"""Nodes that get no new slivers: as plc's operator wants it, kept here while plc is away."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, exists, func, insert, or_, select

from models.agent import ad, drain
from plc.client.orders import Drain, Orders
from trust.errors import Refusal

LOOK_SECONDS = 5
SHOWN = 2  # drained nodes that a refusal names, of whose reason so much
REASON = 40  # characters


def heed(ask: Callable[[str | None], Orders | None], engine: Engine) -> Callable[[], None]:
    """One look at what plc says, for a thread; what is still the same is not stored again."""
    known: str | None = None

    def look() -> None:
        nonlocal known
        wanted = ask(known)
        if wanted is not None:
            with engine.begin() as connection:
                replace(connection, wanted.drains)
            known = wanted.tag

    return look


def replace(connection: Connection, drains: Mapping[str, Drain]) -> None:
    """These from now on, and no others."""
    connection.execute(delete(drain))
    rows = [{"node": each.node, "reason": each.reason, "until": each.until} for each in drains.values()]
    if rows:
        connection.execute(insert(drain), rows)


def drained(now: datetime) -> ColumnElement[bool]:
    """Whether the node of an advertisement gets no new slivers, as part of a statement."""
    return exists().where(drain.c.node == ad.c.node, or_(drain.c.until.is_(None), drain.c.until > now))


def naming(connection: Connection, refusal: Refusal, ips: Iterable[str], now: datetime) -> Refusal:
    """The refusal of a request that found too few nodes, with the drained ones (of `ips`, where there are any)."""
    wanted, listed = select(ad.c.address, drain.c.reason).join(drain, drain.c.node == ad.c.node), list(ips)
    wanted = wanted.where(ad.c.expires_at > now, or_(drain.c.until.is_(None), drain.c.until > now))
    if listed:
        wanted = wanted.where(ad.c.address == func.any(listed))
    found = connection.execute(wanted.order_by(ad.c.node)).all()
    if not found:
        return refusal
    named = ", ".join(f"{row.address} ({row.reason[:REASON]})" for row in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    said = f"{refusal.reason}; drained: {named}{more}"
    return Refusal(refusal.code, said, **{**refusal.detail, "drained": len(found)})
