"""What follows at a node is claimed by the worker that did the step before it, in the transaction that records that.

So it needs no message and no claim of its own: newvms begins where newleases has ended, on a connection that stands.
It is a step as any other, with its row, its claim and its record; when the worker dies, its claim ends as claims do and
the step is published. A step that is done but whose operation was cancelled has nothing that follows
(`lifecycle/outcome.py`), and the lock on the operation keeps a deletion out until the commit. (ADR 28)
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row

from lifecycle.facts import SliverFacts
from lifecycle.moves import MOVES
from lifecycle.outcome import Claim, Decision, Done, Follow, Record
from lifecycle.steps import NewStep
from lifecycle.unit_of_work import OperationCounters, UnitOfWork
from models.states import Kind, StepState


def goes_on(record: Record, decision: Decision, follow: Follow) -> bool:
    """Whether the record's worker does this step that follows itself: at the same node, in the same slot."""
    same_node = follow.slot and follow.node == record.claim.node
    return record.hold is not None and decision.state is StepState.DONE and same_node


def claim_following(work: UnitOfWork, decisions: Iterable[tuple[Record, Decision]]) -> dict[int, Claim]:
    """Insert what follows, claimed; the new claims by the ids of the steps that they follow. One step follows another
    at its node, so none is named twice."""
    steps = {
        NewStep(record.claim.operation, follow.kind, follow.node): record
        for record, decision in decisions
        for follow in decision.follows
        if goes_on(record, decision, follow)
    }
    hold = next((record.hold for record in steps.values()), None)
    if hold is None:
        return {}
    token = uuid4()
    added = work.add_claimed(steps, token, hold)
    return {steps[step].claim.id: _next(steps[step], token, row, work[step.operation]) for step, row in added.items()}


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
