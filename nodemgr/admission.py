"""Admission control: whether a node takes a ticket, and until when a lease lasts. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trust.documents import MAX_LEASELEN, Ticket
from trust.errors import Code, Refusal
from trust.identity import Identity


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node gives away.

    Args:
        slots: slivers at once.
        memory_mb: memory for all of them, MiB; `sliver_mb` of it for each.
        processes: ceiling of each sliver.
        longest: longest lease, seconds, at most 1,209,600 (howto: "two weeks, the current maximum lease length").
    """

    slots: int
    memory_mb: int
    sliver_mb: int
    processes: int
    longest: int = MAX_LEASELEN

    @property
    def places(self) -> int:
        """Slivers that fit, by slots and by memory."""
        return min(self.slots, self.memory_mb // self.sliver_mb)

    def free(self, taken: int) -> int:
        """Slivers that still fit beside `taken`."""
        return max(self.places - taken, 0)

    def memory_free_mb(self, taken: int) -> int:
        """Memory not yet promised, MiB."""
        return max(self.memory_mb - taken * self.sliver_mb, 0)


@dataclass(frozen=True, slots=True)
class Held:
    """Whom a slice name belongs to on this node now."""

    slice_id: UUID
    owner: Identity


def admit(ticket: Ticket, *, agents: Collection[Identity], held: Held | None, taken: int, capacity: Capacity) -> None:
    """Returns if this node keeps the ticket's promise.

    Args:
        agents: whose tickets count here.
        held: who holds the slice's name here, if anyone.
        taken: slivers of this node that are there, promised or not yet removed, the holder's own included.

    Raises:
        Refusal: NOT_ALLOWED, NAME_TAKEN or OVER_CAPACITY.
    """
    if ticket.issuer not in agents:
        raise Refusal(Code.NOT_ALLOWED, f"this node takes no tickets of {ticket.issuer.name}; ask another agent")
    if held is not None:
        if held.owner != ticket.owner:
            raise Refusal(Code.NAME_TAKEN, f"{ticket.slice} is another owner's slice on this node; choose another name")
        if held.slice_id != ticket.slice_id:
            raise Refusal(
                Code.NAME_TAKEN, f"an older slice {ticket.slice} is still on this node; try again when it ended"
            )
        return  # its place is taken already
    if capacity.free(taken) == 0:
        why = f"all {capacity.places} places of this node are taken" if capacity.places else "this node has no places"
        raise Refusal(Code.OVER_CAPACITY, f"{why}; take another node", taken=taken)


def lease_end(now: datetime, leaselen: int, longest: int, current: datetime | None = None) -> datetime:
    """End of a lease granted now: `leaselen` seconds on, at most `longest`, whole seconds; never before the `current`
    one (howto, renewslice: "valid until time t + leaselen"; no renewal shortens)."""
    granted = now.replace(microsecond=0) + timedelta(seconds=min(leaselen, longest, MAX_LEASELEN))
    return granted if current is None else max(granted, current)


def next_generation(current: int, asked_from: int) -> int | None:
    """The generation that renewing from `asked_from` makes; None when that was done already.

    Whoever asks from a later generation than the node knows has it from this node: its store was put back since. It
    goes on counting from there, so that no generation is given out twice.

    Raises:
        Refusal: STALE_GENERATION, with the generation in force in `generation`.
    """
    if current <= asked_from:
        return asked_from + 1
    if current == asked_from + 1:
        return None
    raise Refusal(
        Code.STALE_GENERATION,
        f"the lease is of generation {current}, not {asked_from}; look it up and renew from there",
        generation=current,
    )
