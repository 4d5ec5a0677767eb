"""What slivers were granted and used, as nodes tell plc, and what it comes to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Used:
    """One interval at one node.

    Args:
        id: the node's own.
        kind: `granted` (there was a lease) or `used` (there was a running sliver).
        bound: end of the lease: while the interval is open it counts no longer than that.
        ended: None while it lasts.
    """

    id: str
    kind: str
    slice: str
    slice_id: UUID
    owner: str
    began: datetime
    bound: datetime
    ended: datetime | None

    def to_json(self) -> dict[str, object]:
        ids = {"id": self.id, "kind": self.kind, "slice": self.slice, "slice_id": str(self.slice_id)}
        end = self.ended.isoformat() if self.ended else None
        times = {"began": self.began.isoformat(), "bound": self.bound.isoformat(), "ended": end}
        return {**ids, "owner": self.owner, **times}


@dataclass(frozen=True, slots=True)
class Total:
    """Seconds of one user, site, slice or node (`of`; a slice's `owner` beside it)."""

    of: str
    owner: str
    granted: int
    used: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        return cls(str(body["of"]), str(body["owner"]), int(body["granted"]), int(body["used"]))
