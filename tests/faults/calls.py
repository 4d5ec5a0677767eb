"""What was answered as done must be there in every later read until another call explains why not. Pure.

The model of one slice on one node, or of one row of svmd's table: whether it is there, its lease (generation and end)
and its key set (generation and keys), all of which only grow until it is deleted. Two calls whose times overlap may
have come in either order; one that was never answered may have been done at any time until its node started again.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tests.faults.invariants import Breach


class What(StrEnum):
    """What a call does."""

    GRANT = "grant"  # a lease for a ticket
    RENEW = "renew"
    KEYS = "keys"  # the whole key set
    DELETE = "delete"
    BACK = "put back"  # an old database in the place of the one that was there
    READ = "read"


@dataclass(frozen=True, slots=True)
class Call:
    """One call and its answer, about one slice (by its registration) on one node.

    Args:
        begun, ended: when it was heard and answered, on one clock; an infinite end: it was never answered.
        done: None: nobody knows. A call that was refused has done nothing: leave it out.
        there: of a read: whether the slice has a lease.
        generation, end: of the lease; `end` by the answerer's clock.
        keys, key_generation: of the key set.
        lasts: of a grant and a renewal: when its lease ends, on the clock of `begun`.
        ticket: of a grant and a deletion: a late deletion of one that was used before says nothing of the next.
    """

    what: What
    begun: float
    ended: float
    done: bool | None = True
    there: bool = True
    generation: int = 0
    end: float = 0
    key_generation: int = 0
    keys: frozenset[str] | None = None
    lasts: float = float("inf")
    ticket: str | None = None

    def before(self, other: "Call") -> bool:
        """Whether it was answered before the other began."""
        return self.ended < other.begun

    def may_follow(self, other: "Call") -> bool:
        """Whether it can have been done after the other."""
        return not self.before(other)


FOR_LEASES = (What.GRANT, What.RENEW)
ENDINGS = (What.DELETE, What.BACK)
ANOTHER = (*ENDINGS, What.GRANT)
"""After these a sliver may be another one than before."""


def check(where: str, calls: Sequence[Call]) -> list[Breach]:
    """All that is lost or has come back."""
    writes = [call for call in calls if call.what is not What.READ]
    reads = list(_telling(sorted((call for call in calls if call.what is What.READ), key=_begun), writes))
    found = [
        Breach("lost" if "lost" in why else "doubled", where, why) for read in reads for why in _wrong(read, writes)
    ]
    found += [Breach("doubled", where, why) for why in _two_sets(writes)]
    return list(dict.fromkeys(found))


def _begun(call: Call) -> float:
    return call.begun


def _telling(reads: Sequence[Call], writes: Sequence[Call]) -> Iterator[Call]:
    """Without reads that show what the one before showed, with no call begun or answered in between."""
    moments = sorted(moment for call in writes for moment in (call.begun, call.ended))
    shown: tuple[Call, int] | None = None
    for read in reads:
        this = replace(read, begun=0, ended=0), bisect_left(moments, read.begun) + bisect_left(moments, read.ended)
        if this != shown:
            yield read
        shown = this


def _wrong(read: Call, writes: Sequence[Call]) -> Iterator[str]:
    """What the read does not show, or shows and should not."""
    # Everything that can have been done by the time of the read, and what had been answered by then.
    past = [call for call in writes if call.begun < read.ended]
    done = [call for call in past if call.done and call.before(read)]
    if not read.there:
        yield from _lost(read, past, done)
        return
    tickets = {call.ticket for call in past if call.what is What.GRANT}
    deleted = [call for call in done if call.what is What.DELETE and tickets <= {call.ticket}]
    if any(not _followed(call, past, (What.GRANT, What.BACK)) for call in deleted):
        yield "deleted, and there again: no call explains it"
        return
    renewed = [call for call in done if call.what in FOR_LEASES and not _followed(call, past, (What.BACK,))]
    if (floor := max((call.generation for call in renewed), default=0)) > read.generation:
        yield f"a renewal is lost: generation {read.generation}, {floor} was answered"
    still = [call for call in renewed if not _followed(call, past, ANOTHER)]
    if (end := max((call.end for call in still), default=0)) > read.end + 1:
        yield f"a renewal is lost: the lease ends {end - read.end:.0f} s before its answer"
    yield from _keys(read, past, done)


def _lost(read: Call, past: Sequence[Call], done: Sequence[Call]) -> Iterator[str]:
    for grant in (call for call in done if call.what is What.GRANT):
        leases = [call.lasts for call in past if call.what in FOR_LEASES and call.may_follow(grant)]
        if not _followed(grant, past, ENDINGS) and max(leases) > read.ended:
            yield "lost: it was granted, no call has ended it and its lease goes on"
            return


def _keys(read: Call, past: Sequence[Call], done: Sequence[Call]) -> Iterator[str]:
    pushed = [call for call in past if call.what is What.KEYS]
    kept = [call for call in done if call.what is What.KEYS and not _followed(call, past, ANOTHER)]
    if (floor := max((call.key_generation for call in kept), default=0)) > read.key_generation:
        yield f"keys are lost: key set {read.key_generation}, {floor} was answered"
        return
    sets = [call.keys for call in pushed if call.key_generation == read.key_generation and call.keys is not None]
    if read.keys is not None and sets and read.keys not in sets:
        yield f"keys are lost: key set {read.key_generation} is not the one that was given"


def _two_sets(writes: Sequence[Call]) -> Iterator[str]:
    """A generation names one set, for as long as nothing ends the sliver."""
    pushed = [call for call in writes if call.what is What.KEYS and call.done and call.keys is not None]
    for first in pushed:
        for then in pushed:
            same = first.key_generation == then.key_generation and first.before(then)
            ended = any(call.what in ANOTHER and call.may_follow(first) and call.begun < then.ended for call in writes)
            if same and first.keys != then.keys and not ended:
                yield f"two key sets were taken as number {first.key_generation}"
                return


def _followed(call: Call, past: Sequence[Call], by: Sequence[What]) -> bool:
    """Whether one of these may have been done after it."""
    return any(other is not call and other.what in by and other.may_follow(call) for other in past)
