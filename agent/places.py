"""Who has how much of the nodes: what is promised on each, which a request gets, how much one owner may hold.

A node holds one sliver of a slice. Whatever number of one slice's tickets is out for a node, they are about one place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, distinct, func, select

from agent.ads import from_row
from agent.allocation import Candidate, choose
from agent.client import Ad
from models.agent import ad, request, ticket
from trust.documents import TICKET_LIFETIME
from trust.errors import Code, Refusal
from trust.identity import Identity


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
    """

    owner: Identity
    slice: str
    numnodes: int
    ips: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Promised:
    """What is open for one node.

    Args:
        others: slices, the one that asks apart.
        own: whether the slice that asks is among them.
        owners: slices of the owner who asks, this one included.
    """

    others: int = 0
    own: bool = False
    owners: int = 0


def allocate(connection: Connection, wanted: Demand, bounds: Bounds, now: datetime) -> tuple[Ad, ...]:
    """The nodes that this slice gets, locked against others who allocate.

    Raises:
        Refusal: TOO_FEW_NODES, OVER_CAPACITY (the owner's bounds).
    """
    eligible = select(ad).where(ad.c.expires_at > now)
    if wanted.ips:
        eligible = eligible.where(ad.c.address.in_(wanted.ips))
    # Every request locks its nodes in one order; whoever waits here counts the other's tickets below, for READ
    # COMMITTED takes a new snapshot for each statement.
    rows = connection.execute(eligible.order_by(ad.c.node).with_for_update(key_share=True)).all()
    ads = {row.node: from_row(row) for row in rows}
    promised = _promised(connection, wanted, now)
    candidates = [_candidate(found, promised.get(found.node, Promised())) for found in ads.values()]
    chosen = choose(candidates, numnodes=wanted.numnodes, ips=wanted.ips, exclude=wanted.exclude)
    _check_share(connection, chosen, promised, bounds.share, now)
    _check_numbers(connection, wanted, bounds.tickets, now)
    return tuple(ads[candidate.node] for candidate in chosen)


def _promised(connection: Connection, wanted: Demand, now: datetime) -> dict[str, Promised]:
    mine = ticket.c.owner == wanted.owner.uri
    own = mine & (ticket.c.slice == wanted.slice)
    others = func.count(distinct(ticket.c.owner + " " + ticket.c.slice)).filter(~own)
    counted = select(
        ticket.c.node,
        others.label("others"),
        func.bool_or(own).label("own"),
        func.count(distinct(ticket.c.slice)).filter(mine).label("owners"),
    )
    rows = connection.execute(counted.where(ticket.c.expires_at > now).group_by(ticket.c.node))
    return {row.node: Promised(row.others, row.own, row.owners) for row in rows}


def _candidate(found: Ad, promised: Promised) -> Candidate:
    return Candidate(
        found.node, found.address, found.site, found.slots, found.slots_free, promised.others, promised.own
    )


def _check_share(
    connection: Connection, chosen: Sequence[Candidate], promised: Mapping[str, Promised], share: int, now: datetime
) -> None:
    """Tickets that are never used must not keep everybody else out."""
    live = select(func.count(), func.coalesce(func.sum(ad.c.slots), 0)).where(ad.c.expires_at > now)
    nodes, places = connection.execute(live).one()
    most = max(nodes, places * share // 100)
    has = sum(one.owners for one in promised.values()) + sum(not candidate.own for candidate in chosen)
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
