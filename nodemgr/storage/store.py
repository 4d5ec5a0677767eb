"""One node's own database: burnt tickets, leases, key sets, and slivers still to be removed.

Statements only: what to do is decided in `node.py`, and how it gets to disk in `database.py`.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from nodemgr.storage.database import Database
from nodemgr.storage.databasefile import Statement, cannot_write
from trust.documents import SKEW
from trust.errors import Code, Refusal
from trust.identity import Identity

VERSION = 4
KEPT = 7 * 86_400  # seconds that a burnt ticket is remembered past its end, in case a clock steps back
PAST_KEPT = 90 * 86_400  # seconds that the last generation of a lease that is gone is remembered

# Most rows of one owner: tickets that made leases here, tickets that were given up and never shown here (anybody may
# make up their ids), and leases that are gone.
SHOWN_OF_OWNER, UNSHOWN_OF_OWNER, PAST_OF_OWNER = 5_000, 1_000, 5_000

OWNERS = ".owners"  # stands beside the names of slices, and no slice is called so

SCHEMA = """
CREATE TABLE node (uri TEXT PRIMARY KEY) STRICT;
CREATE TABLE burnt (
    jti        TEXT NOT NULL,
    owner      TEXT NOT NULL,
    agent      TEXT NOT NULL,      -- '' when the ticket was deleted here without ever being shown
    slice_id   TEXT NOT NULL,
    expires_at INTEGER NOT NULL,   -- the ticket's own end
    PRIMARY KEY (jti, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX burnt_owner ON burnt (owner, agent);
CREATE TABLE lease (
    slice          TEXT PRIMARY KEY,
    slice_id       TEXT NOT NULL UNIQUE,
    owner          TEXT NOT NULL,
    via            TEXT,           -- the service manager through which it was made, if any
    jti            TEXT NOT NULL UNIQUE,
    leaselen       INTEGER NOT NULL CHECK (leaselen BETWEEN 1 AND 1209600),
    generation     INTEGER NOT NULL CHECK (generation >= 1),
    token          TEXT NOT NULL,
    expires_at     INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('leased', 'creating', 'running')),
    slice_key      TEXT,           -- public half
    key_generation INTEGER NOT NULL CHECK (key_generation >= 0),
    keys           TEXT NOT NULL CHECK (keys GLOB '[[]*]'),
    pair_generation INTEGER NOT NULL DEFAULT 0 CHECK (pair_generation >= 0),  -- of the slice's own key pair
    CHECK (state = 'leased' OR slice_key IS NOT NULL),
    FOREIGN KEY (jti, owner) REFERENCES burnt
) STRICT;
CREATE TABLE removal (
    slice    TEXT NOT NULL,
    slice_id TEXT NOT NULL,
    PRIMARY KEY (slice, slice_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE stopped (owner TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE past (
    slice_id   TEXT PRIMARY KEY,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    ended_at   INTEGER NOT NULL,
    owner      TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
"""


# From each version to the next.
UPGRADES = {
    1: "ALTER TABLE lease ADD COLUMN pair_generation INTEGER NOT NULL DEFAULT 0 CHECK (pair_generation >= 0)",
    2: "ALTER TABLE past ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
    3: "CREATE INDEX burnt_owner ON burnt (owner, agent)",
}


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease that this node granted and what became of it.

    Args:
        via: the service manager through which it was made; None for the owner himself.
        jti: of the ticket that was burnt for it.
        token: the signed lease as it was given out.
        state: `leased` (no sliver, or one that ended), `creating` (being made; after a crash nobody knows how far) or
            `running`.
        slice_key: public half of the slice's key pair, one line; None while there is no sliver.
        keys: users' keys, one line each.
        pair_generation: of the pair that slice_key is one half of.
    """

    slice: str
    slice_id: UUID
    owner: Identity
    via: Identity | None
    jti: str
    leaselen: int
    generation: int
    token: str = field(repr=False)
    expires_at: datetime
    state: str
    slice_key: str | None
    key_generation: int
    keys: tuple[str, ...]
    pair_generation: int = 0

    @property
    def has_sliver(self) -> bool:
        """Whether a whole sliver is there, running or ended."""
        return self.slice_key is not None and self.state != "creating"


COLUMNS = tuple(column.name for column in fields(LeaseRow))


@dataclass(frozen=True, slots=True)
class Burnt:
    """A ticket that can never be redeemed again."""

    jti: str
    owner: Identity
    agent: Identity | None
    slice_id: UUID
    expires_at: datetime


class Store(Database):
    """The database of `node` in the file `path`, made when it is not there.

    Args:
        reserve: bytes on the disk that are kept for it.

    Raises:
        Refusal: BAD_INPUT for a file of another node or of another version of this program; DISK_FULL.
    """

    def __init__(self, path: Path, node: Identity, reserve: int = 0) -> None:
        super().__init__(path, reserve)
        try:
            self._prepare(path, node)
            behind = self._load()
        except BaseException:
            self.close()
            raise
        self._unknown = {OWNERS}.intersection(behind)
        for slice in behind:
            self._take("UPDATE lease SET keys = '[]' WHERE slice = ?", slice)

    # Leases

    def lease(self, slice: str) -> LeaseRow | None:
        rows = self._all(f"{_LEASES} WHERE slice = ?", slice)
        return _lease(rows[0]) if rows else None

    def leases(self) -> list[LeaseRow]:
        """All of them, by slice name."""
        return [_lease(row) for row in self._all(f"{_LEASES} ORDER BY slice")]

    def ended(self, moment: datetime) -> list[LeaseRow]:
        """Those whose end has come by `moment`."""
        rows = self._all(f"{_LEASES} WHERE expires_at <= ? ORDER BY slice", _seconds(moment))
        return [_lease(row) for row in rows]

    def put(self, lease: LeaseRow) -> None:
        """Insert a lease, or replace the one of its slice."""
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
        places = ", ".join("?" for _ in COLUMNS)
        insert = f"INSERT INTO lease ({_COLUMNS}) VALUES ({places})"  # noqa: S608  # as above
        self._do(f"{insert} ON CONFLICT (slice) DO UPDATE SET {updates}", *_values(lease))

    def forget(self, lease: LeaseRow, now: datetime) -> None:
        """Drop a lease; its generation stays known, its sliver (if it has one) is to be removed."""
        with self.transaction(ahead=lease.slice):
            self._do("DELETE FROM lease WHERE slice = ?", lease.slice)
            self._do(
                "INSERT INTO past VALUES (?, ?, ?, ?) ON CONFLICT (slice_id) DO UPDATE SET"
                " generation = max(generation, excluded.generation), ended_at = excluded.ended_at",
                str(lease.slice_id),
                lease.generation,
                _seconds(now),
                lease.owner.uri,
            )
            self._bound_past(lease.owner.uri)
            if lease.slice_key is not None:
                self.add_removal(lease.slice, lease.slice_id)

    def past_generation(self, slice_id: UUID) -> int:
        """The last generation of the slice's earlier leases here, 0 when there was none."""
        rows = self._all("SELECT generation FROM past WHERE slice_id = ?", str(slice_id))
        return int(rows[0][0]) if rows else 0

    def _bound_past(self, owner: str) -> None:
        """Forget the owner's oldest; who renews one of those counts on from the generation that he has."""
        over = int(self._all("SELECT count(*) FROM past WHERE owner = ?", owner)[0][0]) - PAST_OF_OWNER
        if over > 0:
            oldest = "SELECT slice_id FROM past WHERE owner = ? ORDER BY ended_at LIMIT ?"
            self._do(f"DELETE FROM past WHERE slice_id IN ({oldest})", owner, over)  # noqa: S608  # the line above

    # Tickets

    def may_burn(self, ticket: Burnt, now: datetime) -> bool:
        """Whether one more of the owner's tickets can be remembered, shown here or not as this one.

        None that could still be redeemed is forgotten for it; those past their end are, sooner than `purge` would.
        """
        most = SHOWN_OF_OWNER if ticket.agent else UNSHOWN_OF_OWNER
        which, values = "owner = ? AND (agent = '') = ?", (ticket.owner.uri, ticket.agent is None)
        count = f"SELECT count(*) FROM burnt WHERE {which}"  # noqa: S608  # as above
        if int(self._all(count, *values)[0][0]) < most or self.burnt(ticket.jti, ticket.owner) is not None:
            return True
        useless = f"{which} AND expires_at < ? AND jti NOT IN (SELECT jti FROM lease)"  # noqa: S608  # as above
        past_end = (*values, _seconds(now - timedelta(seconds=SKEW)))
        if not self._all(f"SELECT 1 FROM burnt WHERE {useless} LIMIT 1", *past_end):  # noqa: S608  # as above
            return False
        self._do(f"DELETE FROM burnt WHERE {useless}", *past_end)  # noqa: S608  # as above
        return True

    def burnt(self, jti: str, owner: Identity) -> Burnt | None:
        rows = self._all("SELECT * FROM burnt WHERE jti = ? AND owner = ?", jti, owner.uri)
        return _burnt(rows[0]) if rows else None

    def burn(self, ticket: Burnt) -> None:
        """Nothing to do when it is burnt already."""
        self._do(
            "INSERT INTO burnt VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            ticket.jti,
            ticket.owner.uri,
            ticket.agent.uri if ticket.agent else "",
            str(ticket.slice_id),
            _seconds(ticket.expires_at),
        )

    def recently_burnt(self, agent: Identity, now: datetime, limit: int) -> list[str]:
        """Ids of the agent's tickets, and after them of those whose agent is unknown, that are burnt and not past their
        end; of each owner as many as of the others, the newest first."""
        place = "row_number() OVER (PARTITION BY owner, agent = '' ORDER BY expires_at DESC)"
        rows = f"SELECT jti, agent, {place} AS place FROM burnt WHERE agent IN (?, '') AND expires_at > ?"  # noqa: S608
        sql = f"SELECT jti FROM ({rows}) ORDER BY agent = '', place LIMIT ?"  # noqa: S608  # both of the lines above
        return [row[0] for row in self._all(sql, agent.uri, _seconds(now), limit)]

    # Slivers to be removed

    def removals(self) -> list[tuple[str, UUID]]:
        return [(row[0], UUID(row[1])) for row in self._all("SELECT slice, slice_id FROM removal ORDER BY slice")]

    def add_removal(self, slice: str, slice_id: UUID) -> None:
        self._do("INSERT INTO removal VALUES (?, ?) ON CONFLICT DO NOTHING", slice, str(slice_id))

    def removed(self, slice: str) -> None:
        """The driver has nothing under that name any more."""
        with self.transaction(ahead=""):
            self._do("DELETE FROM removal WHERE slice = ?", slice)

    def taken(self) -> int:
        """Places that are promised, used, or not yet free again."""
        sql = "SELECT count(*) FROM (SELECT slice FROM lease UNION SELECT slice FROM removal)"
        return int(self._all(sql)[0][0])

    # Owners whom plc has stopped

    def stopped(self) -> frozenset[Identity]:
        return frozenset(Identity.parse(row[0]) for row in self._all("SELECT owner FROM stopped"))

    @property
    def owners_unknown(self) -> bool:
        """Whether the last run ended before it could write whom plc has stopped, and nobody has said it since."""
        return OWNERS in self._unknown

    def set_stopped(self, owners: Iterable[Identity]) -> None:
        self._unknown = set()
        with self.transaction(ahead=OWNERS):
            self._do("DELETE FROM stopped")
            for owner in owners:
                self._do("INSERT INTO stopped VALUES (?)", owner.uri)

    def purge(self, now: datetime) -> None:
        """Drop what can no longer matter."""
        ended = "DELETE FROM burnt WHERE expires_at < ? AND jti NOT IN (SELECT jti FROM lease)"
        self._do(ended, _seconds(now - timedelta(seconds=KEPT)))
        self._do("DELETE FROM past WHERE ended_at < ?", _seconds(now - timedelta(seconds=PAST_KEPT)))
        self._file.widen()

    def _prepare(self, path: Path, node: Identity) -> None:
        found = self._file.rows("PRAGMA user_version")[0][0]
        if found not in (0, VERSION, *UPGRADES):
            raise Refusal(Code.BAD_INPUT, f"{path} is of version {found}, this program reads {VERSION}; upgrade it")
        steps: list[Statement] = []
        if found == 0:
            steps += [(statement, ()) for statement in SCHEMA.split(";\n") if statement]
            steps += [("INSERT INTO node VALUES (?)", (node.uri,))]
        steps += [(UPGRADES[version], ()) for version in range(found, VERSION) if found]
        try:
            if steps:
                self._file.write([*steps, (f"PRAGMA user_version = {VERSION}", ())])
        except sqlite3.OperationalError as error:
            raise cannot_write(error) from error
        owner = self._file.rows("SELECT uri FROM node")[0][0]
        if owner != node.uri:
            raise Refusal(Code.BAD_INPUT, f"{path} belongs to {owner}, not to {node}; give each node its own folder")


_COLUMNS = ", ".join(COLUMNS)
_LEASES = f"SELECT {_COLUMNS} FROM lease"  # noqa: S608  # names of a dataclass's fields


def _values(lease: LeaseRow) -> Sequence[object]:
    return [_stored(getattr(lease, name)) for name in COLUMNS]


def _stored(value: object) -> object:
    """As SQLite keeps it: moments in seconds since 1970, key sets as JSON, nobody as ''."""
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, tuple):
        return json.dumps(value)
    return str(value) if isinstance(value, UUID | Identity) else value


def _lease(row: Sequence[Any]) -> LeaseRow:
    found = dict(zip(COLUMNS, row, strict=True))
    found["slice_id"] = UUID(found["slice_id"])
    found["owner"] = Identity.parse(found["owner"])
    found["via"] = Identity.parse(found["via"]) if found["via"] else None
    found["expires_at"] = _moment(found["expires_at"])
    found["keys"] = tuple(json.loads(found["keys"]))
    return LeaseRow(**found)


def _burnt(row: Sequence[Any]) -> Burnt:
    jti, owner, agent, slice_id, expires_at = row
    issuer = Identity.parse(agent) if agent else None
    return Burnt(jti, Identity.parse(owner), issuer, UUID(slice_id), _moment(expires_at))


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
