"""Advertisements: what is stored of them, and how they are read back (functions over `models/agent.py`)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from threading import Lock
from time import monotonic

from sqlalchemy import Connection, Engine, Row, delete, select
from sqlalchemy.dialects.postgresql import insert

from agent.client import AD_LIFETIME, Ad, FrontDoor, Returned, ad_to_json
from models.agent import ad, ticket
from trust.clock import Clock
from trust.errors import Code, Refusal
from trust.identity import Identity

BOARD_SECONDS = 0.5
MAX_RETURNED = 1_000  # in one answer; the rest comes with the next
_COLUMNS = [name for name in Ad.__slots__ if name not in {"frontdoor", "disk_free_mb"}]


def put(connection: Connection, new: Ad, burnt: Sequence[str], now: datetime) -> list[Returned]:
    """Store a node's advertisement for `AD_LIFETIME` seconds from now, and forget the tickets that it burnt.

    In one transaction: a ticket leaves the open ones at the very moment in which `slots_free` counts its sliver.
    Returns the tickets that were given back and that this node would still take, for it to burn them.

    Raises:
        IntegrityError: another node has the address; `free_address` says whether it still does.
    """
    values = _values(new, now + timedelta(seconds=AD_LIFETIME))
    statement = insert(ad).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=[ad.c.node], set_=values))
    if burnt:
        # Only this node's own: no node can burn another's ticket.
        mine = (ticket.c.jti.in_(burnt), ticket.c.node == new.node, ticket.c.state != "reserved")
        connection.execute(delete(ticket).where(*mine))
    return _returned(connection, new.node, now)


def _returned(connection: Connection, node: str, now: datetime) -> list[Returned]:
    unknown = (ticket.c.node == node, ticket.c.state == "returned", ticket.c.expires_at > now)
    rows = connection.execute(select(ticket).where(*unknown).order_by(ticket.c.jti).limit(MAX_RETURNED))
    return [Returned(row.jti, Identity.parse(row.owner), row.slice_id, row.expires_at) for row in rows]


def free_address(connection: Connection, new: Ad, now: datetime) -> None:
    """Take the address from a node that has been silent for `AD_LIFETIME` seconds.

    Raises:
        Refusal: NAME_TAKEN while another node advertises it.
    """
    other = (ad.c.address == new.address, ad.c.node != new.node)
    connection.execute(delete(ad).where(*other, ad.c.expires_at <= now))
    if connection.scalar(select(ad.c.node).where(*other)) is not None:
        raise Refusal(Code.NAME_TAKEN, f"another node advertises {new.address}; stop one of the two")


class Board:
    """The current advertisements as they are sent, read from the database at most every `BOARD_SECONDS`.

    All nodes of a new slice ask at the same moment; reading a thousand advertisements takes 17 ms of CPU.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = Lock()
        self._read = float("-inf")
        self._content, self._tag = b"", ""
        self._disks: dict[str, int | None] = {}

    def note(self, new: Ad) -> None:
        """Remember what is said of a node's disk: it is of the moment, and in no table."""
        with self._lock:
            self._disks[new.node] = new.disk_free_mb

    def content(self) -> tuple[bytes, str]:
        """The body of `GET /ads` and its ETag, which is the same for the same advertisements however often repeated."""
        with self._lock:
            if monotonic() - self._read > BOARD_SECONDS:
                with self._engine.connect() as connection:
                    found = [self._whole(ad) for ad in current(connection, self._clock.now())]
                self._disks = {ad.node: ad.disk_free_mb for ad in found}
                self._content = json.dumps({"ads": [ad_to_json(ad) for ad in found]}).encode()
                self._tag, self._read = etag(found), monotonic()
            return self._content, self._tag

    def _whole(self, stored: Ad) -> Ad:
        return replace(stored, disk_free_mb=self._disks.get(stored.node))


def etag(found: Sequence[Ad]) -> str:
    """A strong validator (RFC 9110, 8.8.1) of what the advertisements say, their ends apart."""
    content = [{**ad_to_json(ad), "expires_at": None} for ad in found]
    return f'"{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]}"'


def current(connection: Connection, now: datetime) -> list[Ad]:
    """Every advertisement that still counts, by address."""
    rows = connection.execute(select(ad).where(ad.c.expires_at > now))
    return sorted((from_row(row) for row in rows), key=lambda found: _address_order(found.address))


def from_row(row: Row[*tuple[object, ...]]) -> Ad:
    """The advertisement in a row of `ad`."""
    stored = row._mapping
    door = FrontDoor(stored["address"], stored["frontdoor_port"], stored["host_key"])
    return Ad(frontdoor=door, **{name: stored[name] for name in _COLUMNS})


def _values(new: Ad, expires_at: datetime) -> dict[str, object]:
    plain = {name: getattr(new, name) for name in _COLUMNS}
    door = {"frontdoor_port": new.frontdoor.port, "host_key": new.frontdoor.host_key}
    return {**plain, **door, "expires_at": expires_at}


def _address_order(address: str) -> tuple[int, int]:
    # Numerically, so that 127.0.1.10 comes after 127.0.1.9: users read this list.
    found = ip_address(address)
    return found.version, int(found)
