"""Reads of slices and slivers. A past `expires_at` counts as expired, by the database's clock, whatever is stored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text

from lifecycle.retention import purgeable_ids
from lifecycle.rows import of_row
from models import svm
from models.states import LIVE, SliceState, SliverState
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.needs import Needs

# The state as it is now: what is past its end has expired, whether or not that is written down.
_STATE = """
    CASE WHEN v.state IN ('ticketed', 'leased', 'running', 'stopped') AND v.expires_at <= now() THEN 'expired'
        ELSE v.state END
"""

# A slice's slivers, and what is left of earlier slices of that name: for its owner they are one.
_ITS = """
    v.slice = ANY(ARRAY(SELECT x.id UNION ALL SELECT y.id FROM svm.slice y
        WHERE y.owner = x.owner AND y.name = x.name AND y.state = 'deleting' AND x.state <> 'deleted'))
    AND (v.slice = x.id OR v.state = 'deleting')
"""

_SLICES = f"""
    SELECT x.*, CASE WHEN x.working_until > now() THEN x.working_until END AS working_end,
        CASE WHEN x.standing_until > now() THEN x.standing_until END AS standing_end,
        CASE WHEN x.by_link_until > now() THEN x.by_link_until END AS by_link_end,
        (SELECT min(v.expires_at) FROM svm.sliver v
            WHERE v.slice = x.id AND v.state IN ('leased', 'running', 'stopped') AND v.expires_at > now()) AS first_end,
        (SELECT coalesce(jsonb_object_agg(c.state, c.count), '{{}}') FROM (
            SELECT {_STATE} AS state, count(*) FROM svm.sliver v WHERE {_ITS} GROUP BY 1) c) AS nodes
    FROM svm.slice x
"""  # noqa: S608 - made of constants of this file

_FIND = text(f"""
    {_SLICES} WHERE x.name = :name AND x.state <> 'deleted' ORDER BY x.state DESC, x.created_at DESC LIMIT 1
""")
_LAST = text(f"""
    {_SLICES} WHERE x.name = :name AND (CAST(:owner AS text) IS NULL OR x.owner = :owner)
    ORDER BY x.created_at DESC LIMIT 1
""")
_OWNED = text(f"""
    {_SLICES} WHERE x.owner = :owner AND x.state <> 'deleted' AND NOT EXISTS (
        SELECT 1 FROM svm.slice y WHERE y.owner = x.owner AND y.name = x.name AND y.state <> 'deleted'
            AND (y.state, y.created_at) > (x.state, x.created_at))
    ORDER BY x.name
""")  # noqa: S608 - made of constants of this file
_EVERYONES = text(f"""
    {_SLICES} WHERE x.state <> 'deleted' AND (CAST(:owner AS text) IS NULL OR x.owner = :owner)
        AND (CAST(:node AS text) IS NULL OR EXISTS (SELECT 1 FROM svm.sliver v
            WHERE v.slice = x.id AND v.state <> 'deleted' AND (v.node = :node OR v.node_name = :node)))
    ORDER BY x.name, x.created_at
""")  # noqa: S608 - made of constants of this file
_THESE = text(f"{_SLICES} WHERE x.id = ANY(:ids) ORDER BY x.name")

# Without tickets and leases, which are most of a row.
_COLUMNS = f"""
    v.node, v.node_name, {_STATE} AS effective, v.generation, v.expires_at, v.renew_at, v.key_generation,
        v.frontdoor_address, v.frontdoor_port, v.host_key, v.attempts, v.error_code, v.last_error, v.changed_at,
        v.died_at
"""
_SLIVERS = text(f"""
    SELECT {_COLUMNS} FROM svm.slice x JOIN svm.sliver v ON {_ITS}
    WHERE x.id = :slice AND v.state <> 'deleted' ORDER BY v.slice <> x.id, v.position, v.node
""")  # noqa: S608 - made of constants of this file
_AT_NODE = text(f"""
    SELECT x.name AS slice, x.owner, {_COLUMNS} FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE v.node = :node AND v.state <> 'deleted' AND (CAST(:owner AS text) IS NULL OR x.owner = :owner)
    ORDER BY x.name
""")  # noqa: S608 - made of constants of this file


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice. `id` is the row's; `slice_id` the registration's, None before the first tickets.

    Args:
        key_generation: of the wanted key set; 0 = no key was ever added.
        autorenew_until: None with autorenew = as long as the standing delegation lasts.
        working_until, standing_until, by_link_until: ends of the stored delegations, None when there is none.
        nodes: counts by effective state, such as {"running": 8}.
        first_end: of the leases that have not ended.
    """

    id: UUID
    slice_id: UUID | None
    name: str
    owner: Identity
    state: SliceState
    numnodes: int
    leaselen: int
    ips: tuple[str, ...]
    agents: tuple[str, ...]
    needs: Needs
    public_key: str | None
    key_generation: int
    autorenew: bool
    autorenew_until: datetime | None
    heal: bool
    working_until: datetime | None
    standing_until: datetime | None
    by_link_until: datetime | None
    created_at: datetime
    nodes: dict[str, int]
    first_end: datetime | None


@dataclass(frozen=True, slots=True)
class Sliver:
    """One node of a slice. `state` is the effective one; `expires_at` the ticket's or the lease's end; `died_at` when
    the VM of one that is stopped ended by itself.

    `frontdoor` is (address, port, host key line) and known from the ticket on.
    """

    node: str
    node_name: str
    state: SliverState
    generation: int
    expires_at: datetime | None
    renew_at: datetime | None
    key_generation: int
    frontdoor: tuple[str, int, str]
    attempts: int
    code: str | None
    last_error: str | None
    changed_at: datetime
    died_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lack:
    """What a slice lacks.

    Args:
        missing: nodes.
        taken: addresses that it must not get: its own live nodes, and those that still delete a sliver of that name.
        known: these, and all that it was ever given.
        granted: tickets that it has had.
        going: those of `taken` that still delete a sliver of that name, until `going_until` at the latest.
    """

    missing: int
    taken: list[str]
    known: list[str]
    granted: int
    going: list[str]
    going_until: datetime | None


def find(connection: Connection, name: str, caller: Identity | None) -> Slice:
    """The slice of that name: the open one, else the one being deleted.

    Raises Refusal(NOT_FOUND), or NOT_OWNER when it is not the caller's (None = no check).
    """
    row = connection.execute(_FIND, {"name": name}).one_or_none()
    if row is None:
        raise Refusal(Code.NOT_FOUND, f"no slice {name}: svm slices lists yours, createslice makes one")
    found = _slice(row)
    if caller is not None and found.owner != caller:
        raise Refusal(Code.NOT_OWNER, f"{name} is somebody else's slice: svm slices lists yours")
    return found


def last_of(connection: Connection, name: str, owner: Identity | None) -> Slice | None:
    """The owner's newest slice of that name (None: anybody's), also one that is gone (history)."""
    row = connection.execute(_LAST, {"name": name, "owner": str(owner) if owner else None}).one_or_none()
    return _slice(row) if row else None


def owned(connection: Connection, owner: Identity) -> list[Slice]:
    """The owner's slices, one for each name: the open one, else the newest that is being deleted."""
    return [_slice(row) for row in connection.execute(_OWNED, {"owner": str(owner)})]


def everyones(connection: Connection, owner: Identity | None = None, node: str | None = None) -> list[Slice]:
    """All slices, for the operator; where that is said, of one owner, with a sliver on one node (address or name)."""
    bound = {"owner": owner.uri if owner else None, "node": node}
    return [_slice(row) for row in connection.execute(_EVERYONES, bound)]


def slivers(connection: Connection, slice_row: UUID) -> list[Sliver]:
    """All nodes of a slice, in order of allocation, without those already deleted (for status, ssh-config)."""
    return [_sliver(row) for row in connection.execute(_SLIVERS, {"slice": slice_row})]


def at_node(connection: Connection, node: str, owner: Identity | None) -> list[tuple[str, Identity, Sliver]]:
    """The owner's slivers at one node (None: everybody's), each with its slice's name and owner."""
    rows = connection.execute(_AT_NODE, {"node": node, "owner": str(owner) if owner else None})
    return [(row.slice, Identity.parse(row.owner), _sliver(row)) for row in rows]


def lacking(connection: Connection, slice_row: UUID) -> Lack:
    """What a slice lacks, for the broker."""
    slice_, v = svm.slice_table.c, svm.sliver.c
    row = connection.execute(select(slice_.numnodes, slice_.name).where(slice_.id == slice_row)).one()
    found = slivers(connection, slice_row)
    living = [one.node for one in found if one.state in LIVE]
    of_that_name = (slice_.name == row.name) & (v.state == SliverState.DELETING)
    leaving = select(v.node, v.expires_at).join(svm.slice_table, slice_.id == v.slice).where(of_that_name)
    ends = {one.node: one.expires_at for one in connection.execute(leaving.order_by(v.node))}
    taken = list(dict.fromkeys([*living, *ends]))
    granted = connection.scalar(select(func.max(v.position)).where(v.slice == slice_row)) or 0
    known = list(dict.fromkeys([*taken, *(one.node for one in found)]))
    last = max((end for end in ends.values() if end), default=None)
    return Lack(row.numnodes - len(living), taken, known, granted, list(ends), last)


def keys(connection: Connection, slice_row: UUID) -> list[str]:
    """The wanted SSH public keys, one line each."""
    table = svm.slice_key
    lines = select(table.c.line).where(table.c.slice == slice_row).order_by(table.c.added_at, table.c.fingerprint)
    return list(connection.scalars(lines))


def purgeable(connection: Connection, owner: Identity | None) -> list[Slice]:
    """What `clean` would purge (its --dry-run): no valid ticket or lease, nothing open, nothing being deleted."""
    return [_slice(row) for row in connection.execute(_THESE, {"ids": purgeable_ids(connection, owner)})]


def _slice(row: Row[Any]) -> Slice:
    return of_row(
        Slice,
        row,
        owner=Identity.parse(row.owner),
        state=SliceState(row.state),
        ips=tuple(row.ips),
        agents=tuple(row.agents),
        needs=Needs.from_json(row.needs),
        working_until=row.working_end,
        standing_until=row.standing_end,
        by_link_until=row.by_link_end,
    )


def _sliver(row: Row[Any]) -> Sliver:
    door = (row.frontdoor_address, row.frontdoor_port, row.host_key)
    return of_row(Sliver, row, state=SliverState(row.effective), frontdoor=door, code=row.error_code)
