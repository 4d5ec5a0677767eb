"""Records: what steps did, written down for many steps in one transaction (group commit).

The second of the three files of a step's outcome (`lifecycle/outcome.py`). Here slivers move as their steps say: by
guarded UPDATEs after the table in `lifecycle/moves.py`, many rows at once. None reads, checks and then writes: the
guard is in the UPDATE, and what it returns is what moved. Moves that no step makes: `lifecycle/transitions.py`.

Order of locks, everywhere: operations by id, steps by id, slices by id, slivers by (slice, node).
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.deletion import follow_deletions, lock_slices
from lifecycle.moves import MOVES
from lifecycle.onward import claim_following, goes_on
from lifecycle.outcome import Claim, Decision, Done, Facts, Granted, Moved, Record, decide
from lifecycle.replacing import arrived, give_way
from lifecycle.rounds import rounds
from lifecycle.steps import NewStep, StepRef
from lifecycle.transitions import Key
from lifecycle.unit_of_work import OperationCounters, UnitOfWork
from models.states import Kind, SliverState, StepState

# That ids are named once more, here and below, has PostgreSQL look them up: of how many rows an array or a JSON text
# yields it knows nothing, and would rather read all steps.
_STILL_OURS = text("""
    SELECT s.id, s.claim_token
    FROM svm.step s JOIN unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[])) AS c(id, token)
        ON s.id = c.id AND s.claim_token = c.token
    WHERE s.id = ANY(:ids)
    ORDER BY s.id FOR UPDATE OF s
""")

# Their records change the slice's row. newvms: held until the commit, so that a key added meanwhile either is seen
# here or sees the new VM.
OF_SLICES = (Kind.NEWTICKETS, Kind.REPLACE, Kind.NEWVMS, Kind.DELETE, Kind.RELEASE)

_END_STEPS = text("""
    UPDATE svm.step AS s SET state = u.state, claim_token = NULL, claim_until = NULL,
        error_code = u.code, error = u.reason,
        tries = s.tries + CASE WHEN u.state = 'held' THEN 1 ELSE 0 END,
        next_run_at = CASE WHEN u.state = 'held' THEN now() + make_interval(secs => u.again_in) ELSE s.next_run_at END,
        ended_at = CASE WHEN u.state <> 'held' THEN now() END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS u(id bigint, state text, code text, reason text,
         again_in double precision)
    WHERE s.id = u.id AND s.id = ANY(:ids)
""")

# What success does to a sliver. One that ended by itself says so whatever else is done to it, until it runs again.
# A renewed lease is due again after two thirds of it, spread so that a slice's nodes are not all renewed at once.
_ADVANCE = text("""
    UPDATE svm.sliver AS v SET
        state = coalesce(u.target, v.state),
        ticket = CASE WHEN u.target IN ('leased', 'deleted') THEN NULL ELSE v.ticket END,
        lease = CASE WHEN u.target = 'deleted' THEN NULL ELSE coalesce(u.new_lease, v.lease) END,
        generation = coalesce(u.new_generation, v.generation),
        expires_at = coalesce(u.new_end, v.expires_at),
        renew_at = CASE WHEN u.target = 'deleted' THEN NULL WHEN u.new_end IS NULL THEN v.renew_at
                        ELSE now() + (u.new_end - now()) * (0.667 + random() * 0.05) END,
        frontdoor_address = coalesce(u.address, v.frontdoor_address),
        frontdoor_port = coalesce(u.port, v.frontdoor_port),
        host_key = coalesce(u.key, v.host_key),
        key_generation = CASE WHEN u.target = 'deleted' THEN 0
                              ELSE greatest(v.key_generation, coalesce(u.keys, 0)) END,
        pair_generation = CASE WHEN u.target = 'deleted' THEN 0
                               ELSE greatest(v.pair_generation, coalesce(u.pair, 0)) END,
        died_at = CASE WHEN u.target IS NULL THEN v.died_at END,
        attempts = 0, changed_at = now(),
        error_code = CASE WHEN u.target IS NULL AND v.died_at IS NOT NULL THEN v.error_code END,
        last_error = CASE WHEN u.target IS NULL AND v.died_at IS NOT NULL THEN v.last_error END
    FROM (SELECT v.slice AS of_slice, v.node AS on_node, v.state AS before, c.*
          FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS c(slice uuid, node text, sources jsonb, target text,
               new_lease text, new_generation int, new_end timestamptz, address text, port int, key text, keys int,
               pair int)
          JOIN svm.sliver v ON v.slice = c.slice AND v.node = c.node
          WHERE c.sources ? v.state AND coalesce(c.new_generation >= v.generation, true)
          ORDER BY v.slice, v.node FOR UPDATE OF v) AS u
    WHERE v.slice = u.of_slice AND v.node = u.on_node
    RETURNING v.slice, v.node, u.before, v.state AS after
""")

# A row that is past its end but was not yet written down as expired counts as expired.
# `reconcile` finds in svm.node which nodes to ask, and where.
_GRANT = text("""
    WITH t AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t(position int, node text, node_name text, api text,
            agent text, address text, port int, host_key text, ticket text, jti text, expires_at timestamptz)),
    known AS (
        INSERT INTO svm.node AS n (node, node_name, api) SELECT node, node_name, api FROM t ORDER BY node
        ON CONFLICT (node) DO UPDATE SET node_name = excluded.node_name, api = excluded.api
        WHERE (n.node_name, n.api) <> (excluded.node_name, excluded.api))
    INSERT INTO svm.sliver AS v (slice, node, position, node_name, api, agent, frontdoor_address, frontdoor_port,
        host_key, state, ticket, jti, expires_at)
    SELECT :slice, t.node, t.position + (SELECT coalesce(max(position), 0) FROM svm.sliver WHERE slice = :slice),
        t.node_name, t.api, t.agent, t.address, t.port, t.host_key, 'ticketed', t.ticket, t.jti, t.expires_at
    FROM t
    ON CONFLICT (slice, node) DO UPDATE SET
        position = excluded.position, node_name = excluded.node_name, api = excluded.api, agent = excluded.agent,
        frontdoor_address = excluded.frontdoor_address, frontdoor_port = excluded.frontdoor_port,
        host_key = excluded.host_key, state = 'ticketed', ticket = excluded.ticket, jti = excluded.jti,
        expires_at = excluded.expires_at, redeemed_at = NULL, lease = NULL, renew_at = NULL, key_generation = 0,
        pair_generation = 0, attempts = 0, error_code = NULL, last_error = NULL, died_at = NULL, replaces = NULL,
        changed_at = now()
    WHERE v.state = ANY(:sources) OR (v.state = ANY(:living) AND v.expires_at <= now())
    RETURNING v.node
""")

# A renewal that failed is tried again well before the lease that is still valid ends.
_TROUBLE = text("""
    UPDATE svm.sliver AS v SET attempts = attempts + 1, error_code = u.code, last_error = u.reason, changed_at = now(),
        renew_at = CASE WHEN u.kind = 'renew' AND v.renew_at IS NOT NULL AND v.expires_at > now()
            THEN now() + (0.5 + random() / 2) * least((v.expires_at - now()) / 8, interval '1 hour')
            ELSE v.renew_at END
    FROM (SELECT v.slice AS of_slice, v.node AS on_node, c.*
          FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS c(slice uuid, node text, kind text, code text, reason text)
          JOIN svm.sliver v ON v.slice = c.slice AND v.node = c.node
          ORDER BY v.slice, v.node FOR UPDATE OF v) AS u
    WHERE v.slice = u.of_slice AND v.node = u.on_node
""")


# The slice's first tickets bring its registration; its key pair is made once.
_REGISTER = text("""
    UPDATE svm.slice SET slice_id = :slice_id, released_at = NULL,
        public_key = coalesce(public_key, :public_key), sealed_key = coalesce(sealed_key, :sealed_key),
        needs = needs || jsonb_strip_nulls(jsonb_build_object('digest', CAST(:digest AS text)))
    WHERE id = :id AND state = 'open'
""")


@dataclass(frozen=True, slots=True)
class Change:
    """What a step's success changes in its sliver; None leaves a column as it is."""

    slice: UUID
    node: str
    kind: Kind
    lease: str | None = field(default=None, repr=False)
    generation: int | None = None
    expires_at: datetime | None = None
    frontdoor: tuple[str, int, str] | None = None
    key_generation: int | None = None
    pair_generation: int | None = None

    @property
    def key(self) -> Key:
        """Of the sliver's row."""
        return self.slice, self.node


@dataclass(frozen=True, slots=True)
class Trouble:
    """A step's failure, for the row of its sliver."""

    slice: UUID
    node: str
    kind: Kind
    code: str
    reason: str


def record(
    connection: Connection, records: Sequence[Record], wake: Iterable[UUID] = ()
) -> tuple[list[bool], list[StepRef], dict[int, Claim]]:
    """Write them all in the caller's transaction: which were still ours, what to publish after the commit, and what
    their worker has claimed to go on with, by the ids of the steps that it follows.

    `wake`: operations whose held steps may be due by now; their windows are refilled along with the others'.
    """
    work = UnitOfWork(connection)
    work.lock([*(record.claim.operation for record in records), *wake])
    ours = _still_ours(connection, records)
    kept = [record for record, is_ours in zip(records, ours, strict=True) if is_ours]
    keys = _lock_slices(connection, kept)
    refs: list[StepRef] = []
    following: dict[int, Claim] = {}
    for few in rounds(kept, _target):
        decisions = _write_down(connection, work, few, keys)
        refs += _follow(work, decisions)
        following |= claim_following(work, decisions)
    refs += follow_deletions(connection, work, kept)
    refs += work.settle()
    return ours, refs, following


def _target(record: Record) -> Hashable:
    """What it changes: a sliver, else nothing that another record of the group changes too."""
    claim = record.claim
    return (claim.slice.id, claim.node) if claim.slice and claim.node else claim.id


def _write_down(
    connection: Connection, work: UnitOfWork, records: Sequence[Record], keys: Mapping[UUID, int]
) -> list[tuple[Record, Decision]]:
    """Records of which no two are of one sliver, and what they came to."""
    found = _Found(connection, work, records, keys)
    decisions = [(record, decide(record.claim, record.result, found.facts(record))) for record in records]
    _end_steps(connection, decisions)
    _note_trouble(connection, decisions)
    for record_, decision in decisions:
        _count(work[record_.claim.operation], decision)
    return decisions


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
                    stays = bool(work[claim.operation].options.get("stays"))
                    give_way(connection, claim.slice.id, claim.node, self._granted[claim.id], stays=stays)
        changes = {r.claim.id: change for r in records if (change := _change_of(r)) is not None}
        self._moved = dict(zip(changes, advance(connection, list(changes.values())), strict=True))
        arrived(connection, ((r.claim, self._moved.get(r.claim.id)) for r in records if r.claim.kind is Kind.NEWVMS))

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
            earlier=claim.slice is not None and claim.slice.id != counters.slice,
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
    keys = {"public_key": result.public_key, "sealed_key": result.sealed_key}
    connection.execute(_REGISTER, {"id": slice_row, "slice_id": result.slice_id, "digest": result.digest, **keys})
    return grant(connection, slice_row, result.tickets)


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
        connection.execute(_END_STEPS, {"rows": json.dumps(rows), "ids": [row["id"] for row in rows]})


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
        if not goes_on(record, decision, follow)
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


def advance(connection: Connection, changes: Sequence[Change]) -> list[Moved | None]:
    """Move slivers as their steps' kinds say, those of one sliver one after another. For each change the states
    (before, after), or None where its row is missing or was not allowed to move."""
    moved: dict[int, Moved] = {}
    for few in rounds(enumerate(changes), lambda numbered: numbered[1].key):
        rows = connection.execute(_ADVANCE, {"rows": json.dumps([_change(change) for _, change in few])})
        found = {(row.slice, row.node): (SliverState(row.before), SliverState(row.after)) for row in rows}
        moved |= {at: found[change.key] for at, change in few if change.key in found}
    return [moved.get(at) for at in range(len(changes))]


def grant(connection: Connection, slice_row: UUID, tickets: Sequence[Granted]) -> list[str]:
    """Slivers in state ticketed: new rows, or expired and deleted ones again (the generation goes on counting)."""
    states = {"sources": list(MOVES[Kind.NEWTICKETS].sources), "living": list(MOVES["expire"].sources)}
    granted: list[str] = []
    for few in rounds(tickets, lambda ticket: ticket.node):
        rows = [_ticket(position, ticket) for position, ticket in enumerate(few, 1)]
        granted += connection.scalars(_GRANT, {"slice": slice_row, "rows": json.dumps(rows), **states})
    return granted


def trouble(connection: Connection, troubles: Sequence[Trouble]) -> None:
    """Note why steps failed; the state stays where it is."""
    for few in rounds(troubles, lambda one: (one.slice, one.node)):
        rows = [
            {"slice": str(t.slice), "node": t.node, "kind": t.kind, "code": t.code, "reason": t.reason} for t in few
        ]
        connection.execute(_TROUBLE, {"rows": json.dumps(rows)})


def _change(change: Change) -> dict[str, object]:
    move = MOVES[change.kind]
    address, port, key = change.frontdoor or (None, None, None)
    return {
        "slice": str(change.slice),
        "node": change.node,
        "sources": list(move.sources),
        "target": move.to,
        "new_lease": change.lease,
        "new_generation": change.generation,
        "new_end": change.expires_at.isoformat() if change.expires_at else None,
        "address": address,
        "port": port,
        "key": key,
        "keys": change.key_generation,
        "pair": change.pair_generation,
    }


def _ticket(position: int, ticket: Granted) -> dict[str, object]:
    address, port, host_key = ticket.frontdoor
    return {
        "position": position,
        "node": ticket.node,
        "node_name": ticket.node_name,
        "api": ticket.api,
        "agent": ticket.agent,
        "address": address,
        "port": port,
        "host_key": host_key,
        "ticket": ticket.ticket,
        "jti": ticket.jti,
        "expires_at": ticket.expires_at.isoformat(),
    }
