"""What follows at a node is claimed by the worker that did the step before it, in the transaction that records that.

So it needs no message and no claim of its own: newvms begins where newleases has ended, on a connection that stands,
and newleases where the tickets have come, if they are few: then a person waits for each message (ADR 57).
It is a step as any other, with its row, its claim and its record; when the worker dies, its claim ends as claims do and
the step is published. A step that is done but whose operation was cancelled has nothing that follows
(`lifecycle/outcome.py`), and the lock on the operation keeps a deletion out until the commit. (ADR 28)
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row

from lifecycle.facts import SliverFacts
from lifecycle.moves import MOVES
from lifecycle.outcome import Claim, Decision, Done, Follow, Record, claimed
from lifecycle.steps import NewStep
from lifecycle.unit_of_work import OperationCounters, UnitOfWork
from models.states import Kind, StepState

Decided = Sequence[tuple[Record, Decision]]
FEW = 8  # nodes of a createslice that the worker with their tickets goes on with; more are shared among workers


def going_on(work: UnitOfWork, decided: Decided) -> list[tuple[Record, Follow]]:
    """What the records' worker does itself: what follows at the same node, in the same slot; and after the tickets of
    a few nodes what follows at these, if the window has room for all of them."""
    return [
        (record, follow)
        for record, decision in decided
        if record.hold is not None and decision.state is StepState.DONE
        for follow in decision.follows
        if (follow.slot and follow.node == record.claim.node) or _are_few(work, record, decision, decided)
    ]


def _are_few(work: UnitOfWork, record: Record, decision: Decision, decided: Decided) -> bool:
    if record.claim.kind is not Kind.NEWTICKETS:
        return False
    counters = work[record.claim.operation]
    beside = sum(
        follow.slot for other, made in decided for follow in made.follows if other.claim.operation == counters.id
    )
    return len(decision.follows) <= min(FEW, counters.parallelism - counters.in_flight - beside)


def claim_following(
    connection: Connection, work: UnitOfWork, going: Sequence[tuple[Record, Follow]]
) -> dict[int, list[Claim]]:
    """Insert what follows, claimed; the new claims by the ids of the steps that they follow. One step follows another
    at its node, so none is named twice."""
    steps = {NewStep(record.claim.operation, follow.kind, follow.node): record for record, follow in going}
    hold = next((record.hold for record in steps.values()), None)
    if hold is None:
        return {}
    token = uuid4()
    added = work.add_claimed(steps, token, hold)
    found: dict[int, list[Claim]] = defaultdict(list)
    after_tickets = {row.id: steps[step].claim.id for step, row in added.items() if steps[step].claim.node is None}
    if after_tickets:
        for claim in claimed(connection, list(after_tickets), token):
            found[after_tickets[claim.id]].append(claim)
    for step, row in added.items():
        if row.id not in after_tickets:
            record = steps[step]
            found[record.claim.id].append(_next(record, token, row, work[step.operation]))
    return dict(found)


def _next(record: Record, token: UUID, row: Row[Any], counters: OperationCounters) -> Claim:
    """The claim of the step that follows, with the facts of the one before it and what that has changed."""
    before, kind = record.claim, Kind(row.kind)
    sliver = _sliver_after(before.sliver, record, row.now) if before.sliver else None
    asked = int((row.now - counters.started_at).total_seconds())
    return replace(before, id=row.id, token=token, kind=kind, attempts=1, tries=0, age=0, asked=asked, sliver=sliver)


def _sliver_after(sliver: SliverFacts, record: Record, now: datetime) -> SliverFacts:
    """The sliver as the record has left it."""
    result = record.result
    if not isinstance(result, Done) or result.unchanged:
        return sliver
    end = result.expires_at or sliver.expires_at
    return replace(
        sliver,
        state=MOVES[record.claim.kind].to or sliver.state,
        lease=result.lease or sliver.lease,
        generation=result.generation or sliver.generation,
        expires_at=end,
        overdue=None if end is None else math.floor((now - end).total_seconds()),
    )
