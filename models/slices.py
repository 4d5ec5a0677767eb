"""Reads of slices and slivers. A past `expires_at` counts as expired, by the database's clock, whatever is stored."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from models.states import SliceState, SliverState
from trust.identity import Identity


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice. `id` is the row's; `slice_id` the registration's, None before the first tickets.

    Args:
        key_generation: of the wanted key set; 0 = no key was ever added.
        autorenew_until: None with autorenew = as long as the standing delegation lasts.
        working_until, standing_until: ends of the stored delegations, None when there is none.
        nodes: counts by effective state, such as {"running": 8}.
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
    public_key: str | None
    key_generation: int
    autorenew: bool
    autorenew_until: datetime | None
    heal: bool
    working_until: datetime | None
    standing_until: datetime | None
    created_at: datetime
    nodes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Sliver:
    """One node of a slice. `state` is the effective one; `expires_at` the ticket's or the lease's end.

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


def find(connection: Connection, name: str, caller: Identity | None) -> Slice:
    """The slice of that name: the open one, else the one being deleted.

    Raises Refusal(NOT_FOUND), or NOT_OWNER when it is not the caller's (None = no check).
    """
    raise NotImplementedError


def owned(connection: Connection, owner: Identity, *, deleted: bool = False) -> list[Slice]:
    """The owner's slices by name; `deleted` adds those that are gone (history)."""
    raise NotImplementedError


def slivers(connection: Connection, slice_row: UUID) -> list[Sliver]:
    """All nodes of a slice, in order of allocation, without those already deleted (for status, ssh-config)."""
    raise NotImplementedError


def nodelist(connection: Connection, slice_row: UUID) -> list[str]:
    """Addresses of the nodes whose VM runs (howto: nodelist)."""
    raise NotImplementedError


def expirations(connection: Connection, slice_row: UUID) -> list[tuple[str, datetime]]:
    """(address, end of the lease) of every node that holds a lease, in order of allocation (howto: expirations)."""
    raise NotImplementedError


def keys(connection: Connection, slice_row: UUID) -> list[str]:
    """The wanted SSH public keys, one line each."""
    raise NotImplementedError


def purgeable(connection: Connection, owner: Identity | None) -> list[Slice]:
    """What `clean` would purge (its --dry-run): no valid ticket or lease, nothing open, nothing being deleted."""
    raise NotImplementedError
