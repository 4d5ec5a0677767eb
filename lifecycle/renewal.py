"""Renewal without anyone's crontab: which slices are due, and which must stop renewing themselves, and why."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from trust.identity import Identity

MOST = 500  # slices in one look; the rest is found by the next

# Each slice is looked up once, and not for each of its nodes.
_DUE = text("""
    WITH due AS MATERIALIZED (
        SELECT slice, array_agg(node) AS nodes, min(expires_at) AS first FROM svm.sliver
        WHERE state IN ('leased', 'running', 'stopped') AND renew_at <= now() AND expires_at > now()
        GROUP BY slice)
    SELECT x.id, x.name, x.owner, x.standing, due.nodes
    FROM due JOIN svm.slice x ON x.id = due.slice
    WHERE x.state = 'open' AND x.autorenew AND x.standing_until > now()
      AND (x.autorenew_until IS NULL OR x.autorenew_until > now())
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL
          AND o.verb NOT IN ('addkey', 'delkey', 'nukekeys'))
    ORDER BY due.first LIMIT :most
""")

_OVER = text("""
    SELECT id, name, owner, autorenew_until, standing_until, autorenew_until <= now() AS reached
    FROM svm.slice
    WHERE state = 'open' AND autorenew
      AND (autorenew_until <= now() OR standing_until IS NULL OR standing_until <= now())
    ORDER BY id LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Due:
    """A slice with nodes whose leases are past two thirds of their time."""

    slice: UUID
    name: str
    owner: Identity
    nodes: tuple[str, ...]
    standing: str = field(repr=False)

    def still_holds(self, row: Row[Any]) -> bool:
        """Whether the slice's row, locked by now, says what was seen."""
        return bool(row.autorenew) and row.standing == self.standing


@dataclass(frozen=True, slots=True)
class Over:
    """A slice that must not renew itself any more; `end` is the date that its owner set, else the delegation's."""

    slice: UUID
    name: str
    owner: Identity
    end: datetime | None
    by_owner: bool

    def still_holds(self, row: Row[Any]) -> bool:
        """Whether the slice's row, locked by now, says what was seen."""
        return bool(row.autorenew) and self.end == (row.autorenew_until if self.by_owner else row.standing_until)

    @property
    def reason(self) -> str:
        """For the history and the owner's e-mail."""
        when = f" at {self.end:%Y-%m-%d %H:%M:%S} UTC" if self.end else ""
        if self.by_owner:
            return f"autorenew ended{when}, as its owner asked"
        return f"autorenew ended: the delegation ended{when}; svm autorenew {self.name} on signs a new one"


def due(connection: Connection) -> list[Due]:
    """Slices with autorenew on, nodes that are due, and no other operation that would have to wait."""
    return [
        Due(row.id, row.name, Identity.parse(row.owner), tuple(row.nodes), row.standing)
        for row in connection.execute(_DUE, {"most": MOST})
    ]


def over(connection: Connection) -> list[Over]:
    """Slices whose until date, or whose standing delegation, has passed."""
    return [
        Over(
            row.id,
            row.name,
            Identity.parse(row.owner),
            row.autorenew_until if row.reached else row.standing_until,
            bool(row.reached),
        )
        for row in connection.execute(_OVER, {"most": MOST})
    ]
