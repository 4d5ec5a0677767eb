"""Records: what steps did, written down for many steps in one transaction (group commit).

Order of locks, everywhere: operations by id, steps, slices by id, slivers by (slice, node).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from models.claims import Claim
from models.operations import StepRef
from trust.errors import Code


@dataclass(frozen=True, slots=True)
class Done:
    """A step that did its work; only what its kind changes is set.

    Args:
        lease, generation, expires_at: newleases and renew.
        frontdoor: newvms, when the node says another than its advertisement: (address, port, host key).
        key_generation: keys pushed.
        detail, reason: for the event that the user sees.
    """

    lease: str | None = field(default=None, repr=False)
    generation: int | None = None
    expires_at: datetime | None = None
    frontdoor: tuple[str, int, str] | None = None
    key_generation: int | None = None
    tickets: tuple["Granted", ...] = ()
    slice_id: UUID | None = None
    reason: str | None = None
    detail: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Granted:
    """A ticket as an agent gave it, for a new sliver row."""

    node: str
    node_name: str
    api: str
    agent: str
    frontdoor: tuple[str, int, str]
    jti: str
    ticket: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    """A step that did not. `again_in` = try again after so many seconds; None = it has failed for good."""

    code: Code
    reason: str
    again_in: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one claim."""

    claim: Claim
    result: Done | Failed


def record(connection: Connection, records: Sequence[Record]) -> tuple[list[bool], list[StepRef]]:
    """Write them all in the caller's transaction: which were still ours, and what to publish after the commit."""
    raise NotImplementedError
