"""How long slivers were granted and used on a node: intervals that are written with the leases that they are about.

An interval begins and ends in the transaction that changes its lease, so that no crash and no deletion loses one. While
it is open it counts to the end of the lease at most. plc hears of each (`nodemgr/usage.py`), and of all of them again
from time to time: its database may have been put back.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from nodemgr.storage.database import Database
from trust.clock import system_clock
from trust.identity import Identity

KEPT = 35 * 86_400  # seconds that an interval which has ended, and which plc knows, is kept
OF_OWNER = 2_000  # of those, the newest of each owner


class Kind(StrEnum):
    """`granted`: there was a lease. `used`: there was a running sliver."""

    GRANTED = "granted"
    USED = "used"


@dataclass(frozen=True, slots=True)
class Interval:
    """Args:
    bound: end of the lease: no open interval counts beyond it.
    ended: None while it lasts.
    told: whether plc knows it as it is.
    """

    id: str
    kind: Kind
    slice: str
    slice_id: UUID
    owner: Identity
    began: datetime
    bound: datetime
    ended: datetime | None = None
    told: bool = False


class Ledger(Database):
    """The part of a node's store that has them. `clock`: what time it is, for whoever opens and ends them."""

    def __init__(self, path: Path, reserve: int, *, durable: bool = True) -> None:
        super().__init__(path, reserve, durable=durable)
        self.clock: Callable[[], datetime] = system_clock().now
        self._intervals: dict[str, Interval] = {}
        self._open: dict[tuple[UUID, Kind], str] = {}

    def intervals(self) -> list[Interval]:
        """All that are kept."""
        with self._lock:
            return list(self._intervals.values())

    def untold(self, limit: int) -> list[Interval]:
        """Of those that plc does not know as they are, the oldest."""
        with self._lock:
            found = [each for each in self._intervals.values() if not each.told]
        return sorted(found, key=lambda each: each.began)[:limit]

    def told(self, intervals: Iterable[Interval]) -> None:
        """plc knows these; what has changed meanwhile stays untold."""
        with self.transaction():
            for each in intervals:
                if self._intervals.get(each.id) == each:
                    self._keep(replace(each, told=True))
            self._bound_intervals()

    def tell_again(self) -> None:
        """As if plc knew of none."""
        with self.transaction():
            for each in self.intervals():
                if each.told:
                    self._keep(replace(each, told=False))

    def _account(self, slice: str, slice_id: UUID, owner: Identity, bound: datetime, *, runs: bool) -> None:
        """A lease is as this says from now on. Within a transaction."""
        for kind, lasts in ((Kind.GRANTED, True), (Kind.USED, runs)):
            found = self._of(slice_id, kind)
            if found is None and lasts:
                began = self.clock().replace(microsecond=0)
                self._keep(Interval(uuid4().hex, kind, slice, slice_id, owner, began, bound))
            elif found is not None and not lasts:
                self._end(found, self.clock())
            elif found is not None and found.bound != bound:
                self._keep(replace(found, bound=bound, told=False))

    def _settle_account(self, slice_id: UUID, now: datetime) -> None:
        """A lease is gone. Within a transaction."""
        for kind in Kind:
            found = self._of(slice_id, kind)
            if found is not None:
                self._end(found, now)

    def _of(self, slice_id: UUID, kind: Kind) -> Interval | None:
        id = self._open.get((slice_id, kind))
        return self._intervals[id] if id is not None else None

    def _end(self, interval: Interval, now: datetime) -> None:
        ended = max(min(now.replace(microsecond=0), interval.bound), interval.began)
        self._keep(replace(interval, ended=ended, told=False))

    def _keep(self, interval: Interval) -> None:
        self._set(self._intervals, interval.id, interval)
        key = (interval.slice_id, interval.kind)
        self._set(self._open, key, interval.id if interval.ended is None else None)
        self._say(_PUT, *_values(interval))

    def _bound_intervals(self) -> None:
        """Forget each owner's oldest that have ended and that plc knows. Within a transaction."""
        if len(self._intervals) <= OF_OWNER:
            return
        of: defaultdict[Identity, list[Interval]] = defaultdict(list)
        for each in self._intervals.values():
            if each.told and each.ended is not None:
                of[each.owner].append(each)
        for found in of.values():
            found.sort(key=lambda each: each.began)
            self._drop_intervals(found[: max(len(found) - OF_OWNER, 0)])

    def _drop_intervals(self, intervals: Iterable[Interval]) -> None:
        for each in intervals:
            self._set(self._intervals, each.id, None)
            self._say("DELETE FROM interval WHERE id = ?", each.id)

    def _forget_intervals(self, now: datetime) -> None:
        """Those that ended long ago. Within a transaction."""
        old = now - timedelta(seconds=KEPT)
        known = [each for each in self._intervals.values() if each.told]
        self._drop_intervals(each for each in known if each.ended is not None and each.ended < old)

    def _load_intervals(self) -> None:
        for row in self._file.rows("SELECT * FROM interval"):
            found = _interval(row)
            self._intervals[found.id] = found
            if found.ended is None:
                self._open[found.slice_id, found.kind] = found.id


_PUT = "INSERT OR REPLACE INTO interval VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _values(interval: Interval) -> Sequence[object]:
    """In the order of its fields."""
    ids = (interval.id, str(interval.kind), interval.slice, str(interval.slice_id), interval.owner.uri)
    ended = int(interval.ended.timestamp()) if interval.ended else None
    times = (int(interval.began.timestamp()), int(interval.bound.timestamp()), ended)
    return (*ids, *times, int(interval.told))


def _interval(row: Sequence[Any]) -> Interval:
    id, kind, slice, slice_id, owner, began, bound, ended, told = row
    moments = [datetime.fromtimestamp(each, UTC) if each is not None else None for each in (began, bound, ended)]
    first, last, end = moments
    assert first is not None  # noqa: S101  # NOT NULL
    assert last is not None  # noqa: S101  # NOT NULL
    return Interval(id, Kind(kind), slice, UUID(slice_id), Identity.parse(owner), first, last, end, bool(told))
