"""What happened in slivers that their owners should hear of: the newest few of each, in memory, for svmd to ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

MOST = 8  # of one sliver


@dataclass(frozen=True, slots=True)
class Happening:
    """`words`: a clause, as "its boot began"."""

    at: datetime
    words: str


class Happenings:
    """Those of one node's slivers, by slice_id. A node manager that starts anew has forgotten them."""

    def __init__(self) -> None:
        self._found: dict[UUID, deque[Happening]] = {}

    def note(self, slice_id: UUID, happening: Happening) -> None:
        self._found.setdefault(slice_id, deque(maxlen=MOST)).append(happening)

    def of(self, slice_id: UUID) -> Collection[Happening]:
        """The oldest first."""
        return self._found.get(slice_id, ())

    def keep(self, slice_ids: Collection[UUID]) -> None:
        """Forget the others."""
        self._found = {slice_id: each for slice_id, each in self._found.items() if slice_id in slice_ids}
