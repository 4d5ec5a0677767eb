"""Advertisements: what is stored of them, and how they are read back (functions over `models/agent.py`)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Row, Text, any_, delete, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from agent.client import AD_LIFETIME, Ad, FrontDoor, Returned
from agent.recordset import recordset
from models.agent import ad, request, ticket
from trust.errors import Code, Refusal
from trust.identity import Identity

MAX_RETURNED = 1_000  # in one answer; the rest comes with the next
_COLUMNS = [name for name in Ad.__slots__ if name != "frontdoor"]
_SAID = [column for column in ad.c if column.name != "expires_at"]


@dataclass(frozen=True, slots=True)
class Said:
    """What a node says of itself, checked: its advertisement, and ids of tickets that it has burnt."""

    ad: Ad
    burnt: Sequence[str] = ()


def put(connection: Connection, said: Sequence[Said], now: datetime) -> Mapping[str, list[Returned]]:
    """Store advertisements of different nodes for `AD_LIFETIME` seconds from now, and forget the tickets they burnt.

    In one transaction: a ticket leaves the open ones at the very moment in which `slots_free` counts its sliver.
    Returns, by node, the tickets that were given back and that this node would still take, for it to burn them.

    Raises:
        IntegrityError: another node has an address; `free_address` says whether it still does.
    """
    _forget(connection, said)
    rows = [_values(one.ad) for one in said]
    given = recordset(rows, *_SAID)
    end = literal(now + timedelta(seconds=AD_LIFETIME), ad.c.expires_at.type)
    # In the order in which places are allocated, so that neither waits for the other.
    source = select(*(given.c[column.name] for column in _SAID), end).order_by(given.c.node)
    names = [column.name for column in _SAID] + ["expires_at"]
    inserted = insert(ad).from_select(names, source)
    changes = {name: inserted.excluded[name] for name in names}
    connection.execute(inserted.on_conflict_do_update(index_elements=[ad.c.node], set_=changes))
    return returned(connection, [one.ad.node for one in said], now)


def keep(connection: Connection, nodes: Collection[str], now: datetime) -> set[str]:
    """Let the advertisements of these nodes count for another `AD_LIFETIME` seconds; those that there are."""
    # Locked in one order, as in `put`.
    mine = select(ad.c.node).where(ad.c.node == any_array(nodes)).order_by(ad.c.node)
    locked = mine.with_for_update(key_share=True).cte("locked")
    kept = update(ad).where(ad.c.node == locked.c.node).values(expires_at=now + timedelta(seconds=AD_LIFETIME))
    return set(connection.execute(kept.returning(ad.c.node)).scalars())


def returned(connection: Connection, nodes: Collection[str], now: datetime) -> dict[str, list[Returned]]:
    """By node, the tickets that were given back and are still good there."""
    unknown = (ticket.c.node == any_array(nodes), ticket.c.state == "returned", ticket.c.expires_at > now)
    found: defaultdict[str, list[Returned]] = defaultdict(list)
    for row in connection.execute(select(ticket).where(*unknown).order_by(ticket.c.jti)):
        if len(found[row.node]) < MAX_RETURNED:
            found[row.node].append(Returned(row.jti, Identity.parse(row.owner), row.slice_id, row.expires_at))
    return found


def free_address(connection: Connection, new: Ad, now: datetime) -> None:
    """Take the address from a node that has been silent for `AD_LIFETIME` seconds.

    Raises:
        Refusal: NAME_TAKEN while another node advertises it.
    """
    other = (ad.c.address == new.address, ad.c.node != new.node)
    connection.execute(delete(ad).where(*other, ad.c.expires_at <= now))
    if connection.scalar(select(ad.c.node).where(*other)) is not None:
        raise Refusal(Code.NAME_TAKEN, f"another node advertises {new.address}; stop one of the two")


def _forget(connection: Connection, said: Sequence[Said]) -> None:
    """The tickets that these nodes burnt; only a node's own: none can burn another's."""
    rows = [{"jti": jti, "node": one.ad.node} for one in said for jti in one.burnt]
    if not rows:
        return
    given = recordset(rows, ticket.c.jti, ticket.c.node)
    burnt = (tuple_(ticket.c.jti, ticket.c.node).in_(select(given.c.jti, given.c.node)), ticket.c.state != "reserved")
    # The requests first, and then the tickets, as everybody locks them (`agent.tickets.give_back`).
    theirs = select(request.c.id).where(request.c.id.in_(select(ticket.c.request_id).where(*burnt)))
    connection.execute(theirs.order_by(request.c.id).with_for_update(read=True, key_share=True))
    connection.execute(delete(ticket).where(*burnt))


_BOARD = text("""
WITH said AS MATERIALIZED (
    SELECT CAST(address AS inet) AS place, expires_at, left(CAST(json_strip_nulls(json_build_object(
        'node', node, 'address', address, 'api', api, 'site', site, 'slots_free', slots_free, 'slots', slots,
        'memory_free_mb', memory_free_mb, 'max_leaselen', max_leaselen, 'simulated', simulated,
        'frontdoor', json_build_object('address', address, 'port', frontdoor_port, 'host_key', host_key),
        'disk_free_mb', disk_free_mb, 'memory_mb', memory_mb, 'disk_mb', disk_mb, 'sliver_mb', sliver_mb,
        'most_processes', most_processes, 'disk_unpromised_mb', disk_unpromised_mb, 'images', images,
        'quota', quota, 'driver', driver)) AS text), -1) AS said
    FROM agent.ad WHERE expires_at > :now
)
SELECT string_agg(said || ',"expires_at":' || to_json(expires_at) || '}', ',' ORDER BY place),
       md5(string_agg(said, ',' ORDER BY place))
FROM said
""")


def board(connection: Connection, now: datetime) -> tuple[bytes, str]:
    """Every advertisement that still counts, by address, as `GET /ads` sends them; and their ETag.

    The database writes them: five thousand cost this process 5 ms so, and 400 ms as objects of its own. The ETag
    (RFC 9110, 8.8.1) is the same for the same advertisements, however often they are repeated.
    """
    said, digest = connection.execute(_BOARD, {"now": now}).one()
    return f'{{"ads":[{said or ""}]}}'.encode(), f'"{digest or "none"}"'


def from_row(row: Row[*tuple[object, ...]]) -> Ad:
    """The advertisement in a row of `ad`."""
    stored = row._mapping
    door = FrontDoor(stored["address"], stored["frontdoor_port"], stored["host_key"])
    return Ad(frontdoor=door, **{name: stored[name] for name in _COLUMNS})


def any_array(values: Iterable[str]) -> ColumnElement[Any]:
    """For a column that is to equal one of these: one parameter, however many they are."""
    return any_(literal(list(values), ARRAY(Text)))


def _values(new: Ad) -> dict[str, object]:
    plain = {name: getattr(new, name) for name in _COLUMNS if name != "expires_at"}
    return {**plain, "frontdoor_port": new.frontdoor.port, "host_key": new.frontdoor.host_key}
