"""What came of a step: values that workers hand to `models.record`."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from models.claims import Claim
from models.transitions import Granted
from trust.errors import Code


@dataclass(frozen=True, slots=True)
class Done:
    """A step that did its work; only what its kind changes is set.

    Args:
        unchanged: the sliver was already where this step leads; nothing moves.
        lease, generation, expires_at: newleases and renew.
        frontdoor: newvms, when the node says another than its advertisement: (address, port, host key).
        key_generation: of the keys pushed.
        pair_generation: of the slice's own key pair that the node has now.
        tickets, slice_id, public_key, sealed_key: newtickets and replace.
        reason, detail: for the event that the user sees.
    """

    unchanged: bool = False
    lease: str | None = field(default=None, repr=False)
    generation: int | None = None
    expires_at: datetime | None = None
    frontdoor: tuple[str, int, str] | None = None
    key_generation: int | None = None
    pair_generation: int | None = None
    tickets: tuple[Granted, ...] = ()
    slice_id: UUID | None = None
    public_key: str | None = None
    sealed_key: bytes | None = field(default=None, repr=False)
    reason: str | None = None
    detail: dict[str, object] = field(default_factory=dict)


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
