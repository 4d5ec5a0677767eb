"""Admission control: whether a node takes a ticket, and until when a lease lasts. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trust.documents import MAX_LEASELEN, Ticket
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.needs import NOTHING, Needs

SMALLEST_SHARE_MB, LARGEST_SHARE_MB = 64, 4_096


@dataclass(frozen=True, slots=True)
class Promised:
    """What is promised, used or not yet free again: places, and the memory and disk of those that said how much.

    Args:
        plain: places of slivers that said nothing of memory; plain_disk: of disk.
        memory_mb, disk_mb: of the others, MiB.
    """

    places: int = 0
    plain: int = 0
    memory_mb: int = 0
    disk_mb: int = 0
    plain_disk: int = 0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node gives away.

    Args:
        slots: slivers at once.
        memory_mb: memory for all of them, MiB; `sliver_mb` of it for each that does not say how much it needs.
        processes: ceiling of each sliver that does not say; `most_processes` of one that does.
        longest: longest lease, seconds, at most 1,209,600 (howto: "two weeks, the current maximum lease length").
        disk_mb: disk that may be promised, MiB; None: nobody counts it.
        sliver_disk_mb: of it, for each sliver that does not say how much it needs; 0: those have none of their own.
    """

    slots: int
    memory_mb: int
    sliver_mb: int
    processes: int
    longest: int = MAX_LEASELEN
    most_processes: int = 4_096
    disk_mb: int | None = None
    sliver_disk_mb: int = 0

    @property
    def places(self) -> int:
        """Slivers that fit, by slots and by memory."""
        return min(self.slots, self.memory_mb // self.sliver_mb)

    def memory_free_mb(self, promised: Promised) -> int:
        """Memory not yet promised, MiB."""
        return max(self.memory_mb - promised.plain * self.sliver_mb - promised.memory_mb, 0)

    def disk_free_mb(self, promised: Promised) -> int | None:
        """Disk not yet promised, MiB; None: nobody counts it."""
        if self.disk_mb is None:
            return None
        return max(self.disk_mb - promised.plain_disk * self.sliver_disk_mb - promised.disk_mb, 0)


@dataclass(frozen=True, slots=True)
class Held:
    """Whom a slice name belongs to on this node now; `needs` what it has, and whether there is a sliver."""

    slice_id: UUID
    owner: Identity
    needs: Needs = NOTHING
    has_sliver: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """What a node has and what of it is promised, the holder's own included.

    Args:
        writable_mb: what the disk takes at this moment, MiB, without what slivers' own disks may still take of it; None
            where nobody knows.
    """

    capacity: Capacity
    promised: Promised
    writable_mb: int | None = None

    @property
    def slots_free(self) -> int:
        """Slivers without needs that still fit."""
        capacity, disk = self.capacity, self.disk_mb
        free = [capacity.places - self.promised.places]
        free.append(capacity.memory_free_mb(self.promised) // capacity.sliver_mb)
        if capacity.sliver_disk_mb and disk is not None:
            free.append(disk // capacity.sliver_disk_mb)
        return max(min(free), 0)

    @property
    def disk_mb(self) -> int | None:
        """Disk that can still be promised, MiB; None: nobody counts it."""
        limits = [each for each in (self.capacity.disk_free_mb(self.promised), self.writable_mb) if each is not None]
        return max(min(limits), 0) if limits else None


def share_of_disk(disk_mb: int, places: int) -> int:
    """MiB of a disk of its own for each of so many slivers, where nobody has said how much: a power of two, for disks
    of a size have a template in common; 0 where it would be of little use."""
    share = min(disk_mb // max(places, 1), LARGEST_SHARE_MB)
    return 1 << (share.bit_length() - 1) if share >= SMALLEST_SHARE_MB else 0


def admit(ticket: Ticket, *, agents: Collection[Identity], held: Held | None, room: Room) -> None:
    """Returns if this node keeps the ticket's promise.

    Args:
        agents: whose tickets count here.
        held: who holds the slice's name here, if anyone.

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
        if held.has_sliver and held.needs != ticket.needs:
            reason = f"{ticket.slice} still has a sliver with other needs on this node; try again when that ended"
            raise Refusal(Code.NAME_TAKEN, reason)
        if held.needs == ticket.needs:
            return  # its place is taken already
    _require_room(ticket.needs, held, room)


def _require_room(needs: Needs, held: Held | None, room: Room) -> None:
    """Raises Refusal(OVER_CAPACITY) unless it fits, in the place of what the holder has."""
    capacity, promised = room.capacity, room.promised
    before = held.needs if held else NOTHING
    if held is None and capacity.places <= promised.places:
        why = f"all {capacity.places} places of this node are taken" if capacity.places else "this node has no places"
        raise Refusal(Code.OVER_CAPACITY, f"{why}; take another node", taken=promised.places)
    free = capacity.memory_free_mb(promised) + ((before.memory_mb or capacity.sliver_mb) if held else 0)
    if (needs.memory_mb or capacity.sliver_mb) > free:
        raise _too_little(f"{free:,} MiB of memory are free", needs.memory_mb)
    disk = None if room.disk_mb is None else room.disk_mb + ((before.disk_mb or capacity.sliver_disk_mb) if held else 0)
    if disk is not None and (needs.disk_mb or capacity.sliver_disk_mb) > disk:
        raise _too_little(f"{disk:,} MiB of disk are free", needs.disk_mb)
    if (needs.processes or 0) > capacity.most_processes:
        raise _too_little(f"a sliver has {capacity.most_processes:,} processes at most", needs.processes)


def _too_little(what: str, asked: int | None) -> Refusal:
    wanted = f" and {asked:,} are asked for" if asked else ""
    return Refusal(Code.OVER_CAPACITY, f"{what} on this node{wanted}; take another node")


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
