"""Who has how much of the nodes: what is promised on each, which a request gets, how much one owner may hold.

A node holds one sliver of a slice. Whatever number of one slice's tickets is out for a node, they are about one place.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Integer, Numeric, Subquery, cast, func, literal, null, select

from agent.ads import any_array, from_row
from agent.allocation import Candidate, choose
from agent.client import Ad
from agent.drains import drained, naming
from models.agent import ad, request, ticket
from trust.documents import TICKET_LIFETIME
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.needs import NOTHING, Needs


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one owner may have.

    Args:
        tickets: most of them that are open, and most requests within an hour.
        share: percent of all places that the open ones may hold; a slice on every node is always allowed.
    """

    tickets: int
    share: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Which nodes a slice wants.

    Args:
        ips: addresses in order of preference; empty = the agent's choice.
        exclude: addresses never to take.
        needs: what each of its slivers is to have.
    """

    owner: Identity
    slice: str
    numnodes: int
    ips: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    needs: Needs = NOTHING


def allocate(connection: Connection, wanted: Demand, bounds: Bounds, now: datetime) -> tuple[Ad, ...]:
    """The nodes that this slice gets, locked against others who allocate.

    Raises:
        Refusal: TOO_FEW_NODES, OVER_CAPACITY (the owner's bounds).
    """
    chosen = choose_now(connection, wanted, bounds, now)
    with connection.begin_nested() as attempt:
        held = _locked(connection, [one.node for one in chosen], now)
        # Whoever waited for a lock counts the other's tickets here: READ COMMITTED looks anew at each statement.
        again, needs = _candidates(connection, wanted, now, only=held), wanted.needs.of_digest(chosen[0].digest)
        if len(again) == len(chosen) and all(one.holds(needs) for one in again):
            return tuple(held[one.node] for one in chosen)
        attempt.rollback()
    # Others took some of them meanwhile. With all that there is locked, nobody can do that again.
    every = _locked(connection, [one.node for one in _candidates(connection, wanted, now)], now)
    chosen = choose_now(connection, wanted, bounds, now, only=every)
    return tuple(every[one.node] for one in chosen)


def choose_now(
    connection: Connection, wanted: Demand, bounds: Bounds, now: datetime, only: Collection[str] | None = None
) -> tuple[Candidate, ...]:
    """The nodes (of `only` these) that this slice would get at this moment; nothing is held.

    Raises Refusal as `allocate`.
    """
    there = _candidates(connection, wanted, now, only)
    try:
        chosen = choose(there, numnodes=wanted.numnodes, ips=wanted.ips, exclude=wanted.exclude, needs=wanted.needs)
    except Refusal as refusal:
        raise naming(connection, refusal, wanted.ips, now) from refusal
    _check_share(connection, wanted, chosen, bounds.share, now)
    _check_numbers(connection, wanted, bounds.tickets, now)
    return chosen


def stored(connection: Connection, chosen: Sequence[Candidate]) -> tuple[Ad, ...]:
    """What they advertise, in their order; whoever is gone is left out."""
    rows = connection.execute(select(ad).where(ad.c.node == any_array(one.node for one in chosen)))
    found = {row.node: from_row(row) for row in rows}
    return tuple(found[one.node] for one in chosen if one.node in found)


def _locked(connection: Connection, nodes: Collection[str], now: datetime) -> dict[str, Ad]:
    """Those of them that still count, locked: by everybody in one order, so that nobody waits in a circle."""
    mine = select(ad).where(ad.c.node == any_array(nodes), ad.c.expires_at > now)
    rows = connection.execute(mine.order_by(ad.c.node).with_for_update(key_share=True))
    return {row.node: from_row(row) for row in rows}


def _candidates(
    connection: Connection, wanted: Demand, now: datetime, only: Collection[str] | None = None
) -> list[Candidate]:
    """What counts at this moment and what is promised on it, in one statement: one state of both."""
    promised = _promised(wanted, now)
    said = (ad.c.node, ad.c.address, ad.c.site, ad.c.slots, ad.c.slots_free)
    sums = {one.name: func.coalesce(one, 0).label(one.name) for one in promised.c if one.name not in ("node", "own")}
    found = select(
        *said,
        sums["promised"],
        func.coalesce(promised.c.own, False),
        ad.c.memory_free_mb,
        ad.c.sliver_mb,
        ad.c.most_processes,
        ad.c.disk_unpromised_mb,
        sums["plain"],
        sums["memory"],
        sums["disk"],
        ad.c.images[wanted.needs.image].astext if wanted.needs.image else null(),
    )
    found = found.outerjoin(promised, ad.c.node == promised.c.node).where(ad.c.expires_at > now, ~drained(now))
    if wanted.ips:
        found = found.where(ad.c.address == any_array(wanted.ips))
    if only is not None:
        found = found.where(ad.c.node == any_array(only))
    return [Candidate(*row) for row in connection.execute(found)]


def _promised(wanted: Demand, now: datetime) -> Subquery:
    """By node, what open tickets of other slices hold there: places, memory and disk; and whether `wanted` has one."""
    mine = (ticket.c.owner == wanted.owner.uri) & (ticket.c.slice == wanted.slice)
    memory, disk = _amount("memory_mb"), _amount("disk_mb")
    most = func.max(memory).label("memory"), func.max(disk).label("disk")
    each = (
        select(ticket.c.node, func.bool_or(mine).label("mine"), *most)
        .where(ticket.c.expires_at > now)
        .group_by(ticket.c.node, ticket.c.owner, ticket.c.slice)
        .subquery()
    )
    others = ~each.c.mine
    return (
        select(
            each.c.node,
            func.count().filter(others).label("promised"),
            func.bool_or(each.c.mine).label("own"),
            func.count().filter(others & each.c.memory.is_(None)).label("plain"),
            func.sum(each.c.memory).filter(others).label("memory"),
            func.sum(each.c.disk).filter(others).label("disk"),
        )
        .group_by(each.c.node)
        .subquery()
    )


def _amount(name: str) -> ColumnElement[int]:
    """What a ticket says that it needs of this; null where it says nothing."""
    return cast(ticket.c.needs[name].astext, Integer)


def _places(memory: ColumnElement[int], disk: ColumnElement[int]) -> ColumnElement[int]:
    """How many of a node's places (`ad`) so much memory or disk is worth, all of its places being worth all it has."""
    shares = [
        ad.c.slots * cast(one, Numeric) / func.nullif(all_, 0)
        for one, all_ in ((memory, ad.c.memory_mb), (disk, ad.c.disk_mb))
    ]
    return cast(func.ceil(func.greatest(1, *shares)), Integer)


def _check_share(
    connection: Connection, wanted: Demand, chosen: Sequence[Candidate], share: int, now: datetime
) -> None:
    """Tickets that are never used must not keep everybody else out."""
    live = select(func.count(), func.coalesce(func.sum(ad.c.slots), 0)).where(ad.c.expires_at > now)
    nodes, places = connection.execute(live).one()
    most = max(nodes, places * share // 100)
    memory, disk = _amount("memory_mb"), _amount("disk_mb")
    mine = (ticket.c.owner == wanted.owner.uri, ticket.c.expires_at > now)
    each = (
        select(ticket.c.node, func.max(memory).label("memory"), func.max(disk).label("disk"))
        .where(*mine)
        .group_by(ticket.c.node, ticket.c.slice)
        .subquery()
    )
    held = select(func.sum(_places(each.c.memory, each.c.disk))).select_from(each)
    has = connection.scalar(held.outerjoin(ad, ad.c.node == each.c.node)) or 0
    new = [candidate.node for candidate in chosen if not candidate.own]
    if wanted.needs.memory_mb or wanted.needs.disk_mb:
        asked = _places(literal(wanted.needs.memory_mb, Integer), literal(wanted.needs.disk_mb, Integer))
        has += connection.scalar(select(func.sum(asked)).where(ad.c.node == any_array(new))) or 0
    else:
        has += len(new)
    if has > most:
        raise _too_many(f"your unused tickets would hold {has} of {places} places and may hold {most}", has, most)


def _check_numbers(connection: Connection, wanted: Demand, most: int, now: datetime) -> None:
    """Every ticket and every request is a row."""
    mine = (ticket.c.owner == wanted.owner.uri, ticket.c.expires_at > now)
    has = (connection.scalar(select(func.count()).select_from(ticket).where(*mine)) or 0) + wanted.numnodes
    if has > most:
        raise _too_many(f"you would have {has} unused tickets and may have {most}", has, most)
    lately = (request.c.owner == wanted.owner.uri, request.c.made_at > now - timedelta(seconds=TICKET_LIFETIME))
    asked = (connection.scalar(select(func.count()).select_from(request).where(*lately)) or 0) + 1
    if asked > most:
        raise _too_many(f"you asked for tickets {asked} times within an hour and may {most} times", asked, most)


def _too_many(what: str, has: int, most: int) -> Refusal:
    advice = "use some, delete their slices, or wait an hour until they have run out"
    return Refusal(Code.OVER_CAPACITY, f"{what}; {advice}", open=has, cap=most)
