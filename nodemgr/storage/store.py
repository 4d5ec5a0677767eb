"""One node's own database: burnt tickets, leases, key sets, and slivers still to be removed.

Tables only: what to do is decided in `node.py`, and how it gets to disk in `database.py`. The disk's own constraints
are the last word: what they refuse has not happened in memory either.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from nodemgr.admission import Promised
from nodemgr.storage.ledger import Ledger
from nodemgr.storage.power import Power
from nodemgr.storage.schema import prepare
from trust.documents import SKEW
from trust.identity import Identity, Role
from trust.needs import NOTHING, Needs

KEPT = 7 * 86_400  # seconds that a burnt ticket is remembered past its end, in case a clock steps back
PAST_KEPT = 90 * 86_400  # seconds that the last generation of a lease that is gone is remembered

# Most rows of one owner: tickets that made leases here, tickets that were given up and never shown here (anybody may
# make up their ids), and leases that are gone.
SHOWN_OF_OWNER, UNSHOWN_OF_OWNER, PAST_OF_OWNER = 5_000, 1_000, 5_000

NOBODY = Identity(Role.USER, "nobody@example.org")
OWNERS = ".owners"  # stands beside the names of slices, and no slice is called so


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
        needs: what the ticket said that the sliver is to have.
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
    needs: Needs = NOTHING

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


@dataclass(frozen=True, slots=True)
class Past:
    """What is still known of a lease that is gone."""

    generation: int
    ended_at: datetime
    owner: Identity


class Store(Ledger):
    """The database of `node` in the file `path`, made when it is not there.

    Args:
        reserve, durable: as `Database` has them.

    Raises:
        Refusal: BAD_INPUT for a file of another node or of another version of this program; DISK_FULL.
    """

    def __init__(self, path: Path, node: Identity, reserve: int = 0, *, durable: bool = True) -> None:
        super().__init__(path, reserve, durable=durable)
        self._leases: dict[str, LeaseRow] = {}
        self._needs: dict[str, Needs] = {}  # of those leases that need something
        self._burnt: dict[Identity, dict[str, Burnt]] = {}  # by owner
        self._past: dict[UUID, Past] = {}
        self._removals: dict[tuple[str, UUID], Needs] = {}
        self._stopped: dict[Identity, bool] = {}
        self._power: dict[UUID, Power] = {}
        try:
            prepare(self._file, node)
            self._load()
        except BaseException:
            self.close()
            raise
        self._behind = set(self._file.behind())
        self._unknown = self._behind & {OWNERS}
        for slice in sorted(self._behind):
            if slice in self._leases:
                self._leases[slice] = replace(self._leases[slice], keys=())
            self._owed.append(("UPDATE lease SET keys = '[]' WHERE slice = ?", (slice,)))

    # Leases

    def lease(self, slice: str) -> LeaseRow | None:
        with self._lock:
            return self._leases.get(slice)

    def leases(self) -> list[LeaseRow]:
        """All of them, by slice name."""
        with self._lock:
            return sorted(self._leases.values(), key=lambda lease: lease.slice)

    def ended(self, moment: datetime) -> list[LeaseRow]:
        """Those whose end has come by `moment`."""
        with self._lock:
            found = [lease for lease in self._leases.values() if lease.expires_at <= moment]
        return sorted(found, key=lambda lease: lease.slice)

    def put(self, lease: LeaseRow) -> None:
        """Insert a lease, or replace the one of its slice."""
        with self.transaction():
            self.note(lease)
            self._say(_PUT, *_values(lease))
            self._count(lease)

    def _count(self, lease: LeaseRow) -> None:
        runs = lease.state == "running"
        self._account(lease.slice, lease.slice_id, lease.owner, lease.expires_at, runs=runs)

    def note(self, lease: LeaseRow) -> None:
        """The same for as long as this process lives: the file keeps what it has."""
        with self.transaction():
            self._set(self._leases, lease.slice, lease)
            self._set(self._needs, lease.slice, lease.needs or None)

    def forget(self, lease: LeaseRow, now: datetime) -> None:
        """Drop a lease; its generation stays known, its sliver (if it has one) is to be removed."""
        with self.transaction(ahead=lease.slice):
            self._set(self._leases, lease.slice, None)
            self._set(self._needs, lease.slice, None)
            self._say("DELETE FROM lease WHERE slice = ?", lease.slice)
            past = Past(max(self.past_generation(lease.slice_id), lease.generation), now, lease.owner)
            self._set(self._past, lease.slice_id, past)
            values = (str(lease.slice_id), past.generation, _seconds(now), lease.owner.uri)
            self._say("INSERT OR REPLACE INTO past VALUES (?, ?, ?, ?)", *values)
            self._bound_past(lease.owner)
            self._settle_account(lease.slice_id, now)
            if lease.slice_key is not None:
                self.add_removal(lease.slice, lease.slice_id, lease.needs)

    def past_generation(self, slice_id: UUID) -> int:
        """The last generation of the slice's earlier leases here, 0 when there was none."""
        with self._lock:
            past = self._past.get(slice_id)
        return past.generation if past else 0

    def _bound_past(self, owner: Identity) -> None:
        """Forget the owner's oldest; who renews one of those counts on from the generation that he has."""
        if len(self._past) > PAST_OF_OWNER:
            mine = [(past.ended_at, slice_id) for slice_id, past in self._past.items() if past.owner == owner]
            self._drop_past(slice_id for _, slice_id in sorted(mine)[: max(len(mine) - PAST_OF_OWNER, 0)])

    def _drop_past(self, slice_ids: Iterable[UUID]) -> None:
        """And the orders to those that have no lease now: until here a late one must not come true."""
        held = {lease.slice_id for lease in self._leases.values()}
        for slice_id in slice_ids:
            self._set(self._past, slice_id, None)
            self._say("DELETE FROM past WHERE slice_id = ?", str(slice_id))
            if slice_id in self._power.keys() - held:
                self._set(self._power, slice_id, None)
                self._say("DELETE FROM power WHERE slice_id = ?", str(slice_id))

    # Orders to slivers

    def power(self, slice_id: UUID) -> Power:
        with self._lock:
            return self._power.get(slice_id, Power())

    def set_power(self, slice_id: UUID, power: Power) -> None:
        with self.transaction():
            self._set(self._power, slice_id, power)
            since = None if power.since is None else _seconds(power.since)
            values = (str(slice_id), power.ordered_at, since, power.reason)
            self._say("INSERT OR REPLACE INTO power VALUES (?, ?, ?, ?)", *values)

    # Tickets

    def may_burn(self, ticket: Burnt, now: datetime) -> bool:
        """Whether one more of the owner's tickets can be remembered, shown here or not as this one.

        None that could still be redeemed is forgotten for it; those past their end are, sooner than `purge` would.
        """
        most = SHOWN_OF_OWNER if ticket.agent else UNSHOWN_OF_OWNER
        mine = self._burnt.get(ticket.owner, {})
        if len(mine) < most or ticket.jti in mine:
            return True
        alike = [each for each in mine.values() if bool(each.agent) == bool(ticket.agent)]
        useless = self._useless(alike, now - timedelta(seconds=SKEW)) if len(alike) >= most else []
        with self.transaction():
            self._unburn(useless)
        return len(alike) < most or bool(useless)

    def burnt(self, jti: str, owner: Identity) -> Burnt | None:
        with self._lock:
            return self._burnt.get(owner, {}).get(jti)

    def burn(self, ticket: Burnt) -> None:
        """Nothing to do when it is burnt already."""
        if self.burnt(ticket.jti, ticket.owner) is not None:
            return
        with self.transaction():
            ticket = replace(ticket, expires_at=ticket.expires_at.replace(microsecond=0))
            self._set(self._burnt.setdefault(ticket.owner, {}), ticket.jti, ticket)
            agent = ticket.agent.uri if ticket.agent else ""
            values = (ticket.jti, ticket.owner.uri, agent, str(ticket.slice_id), _seconds(ticket.expires_at))
            self._say("INSERT INTO burnt VALUES (?, ?, ?, ?, ?)", *values)

    def recently_burnt(self, agent: Identity, now: datetime, limit: int) -> list[str]:
        """Ids of the agent's tickets, and after them of those whose agent is unknown, that are burnt and not past their
        end; of each owner as many as of the others, the newest first."""
        found: list[tuple[bool, int, str]] = []
        with self._lock:
            for mine in self._burnt.values():
                for whose in (agent, None):
                    living = [each for each in mine.values() if each.agent == whose and each.expires_at > now]
                    living.sort(key=lambda each: each.expires_at, reverse=True)
                    found += [(whose is None, place, each.jti) for place, each in enumerate(living[:limit])]
        return [jti for _, _, jti in sorted(found)[:limit]]

    def _useless(self, tickets: Iterable[Burnt], moment: datetime) -> list[Burnt]:
        """Those that ended before `moment` and have no lease."""
        held = {lease.jti for lease in self._leases.values()}
        return [each for each in tickets if each.expires_at < moment and each.jti not in held]

    def _unburn(self, tickets: Iterable[Burnt]) -> None:
        for each in tickets:
            self._set(self._burnt[each.owner], each.jti, None)
            self._say("DELETE FROM burnt WHERE jti = ? AND owner = ?", each.jti, each.owner.uri)

    # Slivers to be removed

    def removals(self) -> list[tuple[str, UUID]]:
        with self._lock:
            return sorted(self._removals)

    def add_removal(self, slice: str, slice_id: UUID, needs: Needs = NOTHING) -> None:
        """`needs`: what it has until it is removed."""
        with self.transaction():
            self._set(self._removals, (slice, slice_id), needs)
            values = (slice, str(slice_id), json.dumps(needs.to_json()))
            self._say("INSERT INTO removal VALUES (?, ?, ?) ON CONFLICT DO NOTHING", *values)

    def removed(self, slice: str) -> None:
        """The driver has nothing under that name any more."""
        with self.transaction(ahead=""):
            for key in [key for key in self._removals if key[0] == slice]:
                self._set(self._removals, key, None)
            self._say("DELETE FROM removal WHERE slice = ?", slice)

    def taken(self) -> int:
        """Places that are promised, used, or not yet free again."""
        with self._lock:
            return len(self._leases) + len({slice for slice, _ in self._removals} - self._leases.keys())

    def promised(self) -> Promised:
        """The same, with the memory and disk of those that said how much."""
        with self._lock:
            going = {slice: needs for (slice, _), needs in self._removals.items() if slice not in self._leases}
            needs = [*self._needs.values(), *going.values()]
            places = len(self._leases) + len(going)
        memory = [each.memory_mb for each in needs if each.memory_mb is not None]
        disk = [each.disk_mb for each in needs if each.disk_mb is not None]
        return Promised(places, places - len(memory), sum(memory), sum(disk), places - len(disk))

    # Owners whom plc has stopped

    def stopped(self) -> frozenset[Identity]:
        with self._lock:
            return frozenset(self._stopped)

    @property
    def owners_unknown(self) -> bool:
        """Whether the last run ended before it could write whom plc has stopped, and nobody has said it since."""
        return OWNERS in self._unknown

    def set_stopped(self, owners: Iterable[Identity]) -> None:
        self._unknown = set()
        with self.transaction(ahead=OWNERS):
            for owner in self.stopped():
                self._set(self._stopped, owner, None)
            self._say("DELETE FROM stopped")
            for owner in owners:
                self._set(self._stopped, owner, True)
                self._say("INSERT INTO stopped VALUES (?)", owner.uri)

    def purge(self, now: datetime) -> None:
        """Drop what can no longer matter."""
        with self.transaction():
            every = [each for mine in self._burnt.values() for each in mine.values()]
            self._unburn(self._useless(every, now - timedelta(seconds=KEPT)))
            gone = now - timedelta(seconds=PAST_KEPT)
            self._drop_past([slice_id for slice_id, past in self._past.items() if past.ended_at < gone])
            self._forget_intervals(now)
        self._file.widen()

    def _load(self) -> None:
        """Have in memory what is on disk."""
        rows = self._file.rows
        self._leases = {row[0]: _lease(row) for row in rows(f"SELECT {_COLUMNS} FROM lease")}  # noqa: S608  # as below
        self._needs = {slice: lease.needs for slice, lease in self._leases.items() if lease.needs}
        for jti, uri, agent, slice_id, end in rows("SELECT * FROM burnt"):
            owner, issuer = Identity.parse(uri), Identity.parse(agent) if agent else None
            ticket = Burnt(jti, owner, issuer, UUID(slice_id), _moment(end))
            self._burnt.setdefault(owner, {})[jti] = ticket
        for slice_id, generation, ended_at, uri in rows("SELECT * FROM past"):
            # Version 2 did not say whose it was.
            owner = Identity.parse(uri) if uri else NOBODY
            self._past[UUID(slice_id)] = Past(generation, _moment(ended_at), owner)
        removals = rows("SELECT slice, slice_id, needs FROM removal")
        self._removals = {(row[0], UUID(row[1])): Needs.from_json(json.loads(row[2])) for row in removals}
        self._stopped = {Identity.parse(row[0]): True for row in rows("SELECT owner FROM stopped")}
        for slice_id, ordered_at, since, reason in rows("SELECT * FROM power"):
            moment = None if since is None else _moment(since)
            self._power[UUID(slice_id)] = Power(ordered_at, moment, reason)
        self._load_intervals()
        with self.transaction(ahead=""):  # leases of an earlier version count from now on
            for lease in self._leases.values():
                self._count(lease)


_COLUMNS = ", ".join(COLUMNS)
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
_PLACES = ", ".join("?" for _ in COLUMNS)
_PUT = f"INSERT INTO lease ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT (slice) DO UPDATE SET {_UPDATES}"  # noqa: S608  # a dataclass's fields


def _values(lease: LeaseRow) -> Sequence[object]:
    """In the order of its fields, as SQLite keeps them: moments in seconds since 1970, key sets as JSON."""
    return (
        lease.slice,
        str(lease.slice_id),
        lease.owner.uri,
        lease.via.uri if lease.via else None,
        lease.jti,
        lease.leaselen,
        lease.generation,
        lease.token,
        _seconds(lease.expires_at),
        lease.state,
        lease.slice_key,
        lease.key_generation,
        json.dumps(lease.keys),
        lease.pair_generation,
        json.dumps(lease.needs.to_json()),
    )


def _lease(row: Sequence[Any]) -> LeaseRow:
    found = dict(zip(COLUMNS, row, strict=True))
    found["slice_id"] = UUID(found["slice_id"])
    found["owner"] = Identity.parse(found["owner"])
    found["via"] = Identity.parse(found["via"]) if found["via"] else None
    found["expires_at"] = _moment(found["expires_at"])
    found["keys"] = tuple(json.loads(found["keys"]))
    found["needs"] = Needs.from_json(json.loads(found["needs"]))
    return LeaseRow(**found)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
