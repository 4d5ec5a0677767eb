"""The history: append-only, numbered per operation; what `svm watch` and `svm history` read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from lifecycle.rows import of_row
from models import svm
from models.states import Verb

CHANNEL = "dslice_operations"  # NOTIFY payload: operation ids, separated by spaces


class EventType(StrEnum):
    """What an event tells.

    started: the operation is written down. `detail`: `steps` (how many so far).
    step: one step ended, but not yet its node (a lease is there, the VM follows), or it starts again after a transient
        error (`ok` None, code and reason say why, `detail`: `again_in` seconds).
    node: the node is finished in this operation: this is the `Success on IP` / `Error on IP: reason` line.
        `detail` for renew: `old`, `new` (ends, ISO 8601), `short` (true when less than asked was granted).
        `detail` for a node that gives way to another: `replaced` true.
    note: something about the whole slice (tickets granted, name given back, purged). `reason` is the text.
    ended: the last event. `detail`: `outcome`, `ok`, `failed` (nodes), and code, reason when refused as a whole
        (newtickets without tickets).
    """

    STARTED = "started"
    STEP = "step"
    NODE = "node"
    NOTE = "note"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history. `node` is an address; `kind` the step's kind; `before` and `after` sliver states."""

    operation: UUID
    seq: int
    at: datetime
    actor: str
    type: EventType
    node: str | None
    kind: str | None
    before: str | None
    after: str | None
    ok: bool | None
    code: str | None
    reason: str | None
    detail: Mapping[str, object]


def events_since(connection: Connection, operation: UUID, seq: int, limit: int = 1000) -> list[Event]:
    """Events after `seq` (0 = all), in order. Never skips one: seq is given out under the operation's lock."""
    table = svm.event
    newer = select(table).where(table.c.operation == operation, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    return [_event(row) for row in connection.execute(newer)]


def history(connection: Connection, slice_row: UUID, limit: int = 1000) -> list[tuple[Event, Verb]]:
    """The newest events of a slice over all its operations, oldest first, with these operations' verbs."""
    table, operation = svm.event, svm.operation
    newest = select(table, operation.c.verb).join(operation, operation.c.id == table.c.operation)
    newest = newest.where(table.c.slice == slice_row)
    newest = newest.order_by(table.c.at.desc(), table.c.operation, table.c.seq.desc()).limit(limit)
    return [(_event(row), Verb(row.verb)) for row in reversed(connection.execute(newest).all())]


def _event(row: Row[Any]) -> Event:
    return of_row(Event, row, type=EventType(row.type))
