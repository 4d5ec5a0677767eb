"""Records: what steps did, written down for many steps in one transaction (group commit).

Order of locks, everywhere: operations by id, steps by id, slices by id, slivers by (slice, node).
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.deletion import close_slices, lock_slices
from lifecycle.keypair import want_next
from lifecycle.moves import MOVES
from lifecycle.outcome import Decision, Done, Facts, Failed, Record, decide
from lifecycle.rounds import rounds
from lifecycle.steps import NewStep, StepRef
from lifecycle.transitions import Change, Granted, Trouble, advance, condemn, grant, trouble
from lifecycle.unit_of_work import OperationCounters, UnitOfWork
from lifecycle.verbs import VERBS
from models.states import Kind, SliverState, StepState, Verb

__all__ = ["Done", "Failed", "Granted", "Record", "record"]

_STILL_OURS = text("""
    SELECT s.id, s.claim_token
    FROM svm.step s JOIN unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[])) AS c(id, token)
        ON s.id = c.id AND s.claim_token = c.token
    ORDER BY s.id FOR UPDATE OF s
""")

# Their records change the slice's row. newvms: held until the commit, so that a key added meanwhile either is seen
# here or sees the new VM.
OF_SLICES = (Kind.NEWTICKETS, Kind.REPLACE, Kind.NEWVMS, Kind.DELETE, Kind.RELEASE)

_STILL_DELETING = text("""
    SELECT DISTINCT operation FROM svm.step
    WHERE operation = ANY(:operations) AND kind = 'delete' AND state IN ('held', 'released', 'running')
""")

_END_STEPS = text("""
    UPDATE svm.step AS s SET state = u.state, claim_token = NULL, claim_until = NULL,
        error_code = u.code, error = u.reason,
        tries = s.tries + CASE WHEN u.state = 'held' THEN 1 ELSE 0 END,
        next_run_at = CASE WHEN u.state = 'held' THEN now() + make_interval(secs => u.again_in) ELSE s.next_run_at END,
        ended_at = CASE WHEN u.state <> 'held' THEN now() END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS u(id bigint, state text, code text, reason text,
         again_in double precision)
    WHERE s.id = u.id
""")

# The slice's first tickets bring its registration; its key pair is made once.
_REGISTER = text("""
    UPDATE svm.slice SET slice_id = :slice_id, released_at = NULL,
        public_key = coalesce(public_key, :public_key), sealed_key = coalesce(sealed_key, :sealed_key)
    WHERE id = :id AND state = 'open'
""")


def record(
    connection: Connection, records: Sequence[Record], wake: Iterable[UUID] = ()
) -> tuple[list[bool], list[StepRef]]:
    """Write them all in the caller's transaction: which were still ours, and what to publish after the commit.

    `wake`: operations whose held steps may be due by now; their windows are refilled along with the others'.
    """
    work = UnitOfWork(connection)
    work.lock([*(record.claim.operation for record in records), *wake])
    ours = _still_ours(connection, records)
    kept = [record for record, is_ours in zip(records, ours, strict=True) if is_ours]
    keys = _lock_slices(connection, kept)
    refs: list[StepRef] = []
    for few in rounds(kept, _target):
        refs += _write_down(connection, work, few, keys)
    refs += _close(connection, work, kept)
    refs += work.settle()
    return ours, refs


def _target(record: Record) -> Hashable:
    """What it changes: a sliver, else nothing that another record of the group changes too."""
    claim = record.claim
    return (claim.slice.id, claim.node) if claim.slice and claim.node else claim.id


def _write_down(
    connection: Connection, work: UnitOfWork, records: Sequence[Record], keys: Mapping[UUID, int]
) -> list[StepRef]:
    """Records of which no two are of one sliver."""
    found = _Found(connection, work, records, keys)
    decisions = [(record, decide(record.claim, record.result, found.facts(record))) for record in records]
    _end_steps(connection, decisions)
    _note_trouble(connection, decisions)
    refs = _follow(work, decisions)
    for record_, decision in decisions:
        _count(work[record_.claim.operation], decision)
    return refs


class _Found:
    """What the records changed in slivers and slices, and what was found there.

    Args:
        keys: generations of the slices' keys.
    """

    def __init__(
        self, connection: Connection, work: UnitOfWork, records: Sequence[Record], keys: Mapping[UUID, int]
    ) -> None:
        self._work = work
        self._keys = keys
        self._granted: dict[int, list[str]] = {}
        for claim, result in ((r.claim, r.result) for r in records if isinstance(r.result, Done)):
            if result.tickets and claim.slice:
                self._granted[claim.id] = _take_tickets(connection, claim.slice.id, result)
                if claim.kind is Kind.REPLACE and claim.node:
                    _condemn(connection, claim.slice.id, claim.node)
        changes = {r.claim.id: change for r in records if (change := _change_of(r)) is not None}
        self._moved = dict(zip(changes, advance(connection, list(changes.values())), strict=True))

    def facts(self, record: Record) -> Facts:
        """For `decide`."""
        claim, counters = record.claim, self._work[record.claim.operation]
        return Facts(
            verb=counters.verb,
            cancelled=counters.cancelled,
            replace=bool(counters.options.get("replace")),
            moved=self._moved.get(claim.id),
            granted=self._granted.get(claim.id, ()),
            keys_wanted=bool(claim.slice and self._keys.get(claim.slice.id)),
        )


def _still_ours(connection: Connection, records: Sequence[Record]) -> list[bool]:
    """For each record whether its claim holds; a claim's second record finds that it does not any more."""
    claims = list(dict.fromkeys((record.claim.id, record.claim.token) for record in records))
    bound = {"ids": [id for id, _ in claims], "tokens": [token for _, token in claims]}
    held = {(row.id, row.claim_token) for row in connection.execute(_STILL_OURS, bound)}
    ours = []
    for record in records:
        claim = (record.claim.id, record.claim.token)
        ours.append(claim in held)
        held.discard(claim)
    return ours


def _lock_slices(connection: Connection, records: Sequence[Record]) -> dict[UUID, int]:
    """All slices that these records change or look at, locked in one go; the generations of their keys."""
    ids = {r.claim.slice.id for r in records if r.claim.slice and r.claim.kind in OF_SLICES}
    return lock_slices(connection, ids) if ids else {}


def _take_tickets(connection: Connection, slice_row: UUID, result: Done) -> list[str]:
    values = {"slice_id": result.slice_id, "public_key": result.public_key, "sealed_key": result.sealed_key}
    connection.execute(_REGISTER, {"id": slice_row, **values})
    return grant(connection, slice_row, result.tickets)


def _condemn(connection: Connection, slice_row: UUID, node: str) -> None:
    """The replaced node's sliver ends; a node that may have had the slice's key pair must not open the others."""
    if condemn(connection, slice_row, [node]).get(node) in (SliverState.LEASED, SliverState.RUNNING):
        want_next(connection, slice_row)


def _change_of(record: Record) -> Change | None:
    claim, result = record.claim, record.result
    if not isinstance(result, Done) or result.unchanged or claim.slice is None or claim.node is None:
        return None
    if claim.kind not in MOVES or claim.kind is Kind.REPLACE:
        return None
    return Change(
        slice=claim.slice.id,
        node=claim.node,
        kind=claim.kind,
        lease=result.lease,
        generation=result.generation,
        expires_at=result.expires_at,
        frontdoor=result.frontdoor,
        key_generation=result.key_generation,
        pair_generation=result.pair_generation,
    )


def _end_steps(connection: Connection, decisions: Sequence[tuple[Record, Decision]]) -> None:
    rows = [
        {
            "id": record.claim.id,
            "state": decision.state,
            "code": decision.error.code if decision.error else None,
            "reason": decision.error.reason if decision.error else None,
            "again_in": decision.error.again_in if decision.error else None,
        }
        for record, decision in decisions
    ]
    if rows:
        connection.execute(_END_STEPS, {"rows": json.dumps(rows)})


def _note_trouble(connection: Connection, decisions: Sequence[tuple[Record, Decision]]) -> None:
    troubles = [
        Trouble(record.claim.slice.id, record.claim.node, record.claim.kind, decision.error.code, decision.error.reason)
        for record, decision in decisions
        if decision.state is StepState.FAILED and decision.error and record.claim.slice and record.claim.node
    ]
    trouble(connection, troubles)


def _follow(work: UnitOfWork, decisions: Iterable[tuple[Record, Decision]]) -> list[StepRef]:
    return work.add_steps(
        NewStep(record.claim.operation, follow.kind, follow.node, released=follow.slot)
        for record, decision in decisions
        for follow in decision.follows
    )


def _count(counters: OperationCounters, decision: Decision) -> None:
    counters.in_flight -= 1
    counters.open_steps -= decision.state is not StepState.HELD
    counters.ok += decision.ok
    counters.failed += decision.failed
    if decision.refused and decision.error:
        counters.code, counters.reason = decision.error.code, decision.error.reason
    for say in decision.says:
        counters.say(say.type, **say.fields)


def _close(connection: Connection, work: UnitOfWork, kept: Sequence[Record]) -> list[StepRef]:
    """After a deletion's last node the name goes back to plc; after that nothing of the slice is kept."""
    deletions = [r.claim for r in kept if r.claim.kind is Kind.DELETE]
    refs = _follow_deletions(connection, work, {claim.operation for claim in deletions})
    of_others = {c.slice.id for c in deletions if c.slice and c.slice.id != work[c.operation].slice}
    close_slices(connection, sorted(of_others))
    released = [r.claim.slice.id for r in kept if r.claim.kind is Kind.RELEASE and r.claim.slice]
    given = [r.claim.slice.id for r in kept if r.claim.kind is Kind.RELEASE and r.claim.slice and _is_done(r)]
    close_slices(connection, released, given_back=given)
    return refs


def _follow_deletions(connection: Connection, work: UnitOfWork, operations: set[UUID]) -> list[StepRef]:
    """What waits for the last of an operation's deletions."""
    if not operations:
        return []
    deleting = set(connection.scalars(_STILL_DELETING, {"operations": list(operations)}))
    over = [work[operation] for operation in sorted(operations - deleting)]
    # A deletion's end is a part of it; whatever else was cancelled goes no further.
    going_on = [counters for counters in over if counters.verb is Verb.DELETESLICE or not counters.cancelled]
    waiting = ((counters.id, VERBS[counters.verb].after_deletions) for counters in going_on)
    return work.add_steps(NewStep(id, kind) for id, kind in waiting if kind)


def _is_done(record: Record) -> bool:
    return isinstance(record.result, Done)
