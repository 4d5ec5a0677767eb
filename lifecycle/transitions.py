"""Slivers move here and nowhere else: guarded UPDATEs after the table in `lifecycle.moves.MOVES`, many rows at once.

None of these reads, checks and then writes: the guard is in the UPDATE, and what it returns is what moved. The caller
writes the events in the same transaction.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.moves import MOVES
from lifecycle.rounds import rounds
from models.states import Kind, SliverState
from trust.errors import Code

Moved = tuple[SliverState, SliverState]  # before and after
Key = tuple[UUID, str]  # a sliver's row: slice and node


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
class Granted:
    """A ticket as an agent gave it, for a sliver's row."""

    node: str
    node_name: str
    api: str
    agent: str
    frontdoor: tuple[str, int, str]
    jti: str
    ticket: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """A step's failure, for the row of its sliver."""

    slice: UUID
    node: str
    kind: Kind
    code: str
    reason: str


# What success does to a sliver. One that has stopped stays so whatever else is done to it, until newvms makes it run.
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
        stopped_at = CASE WHEN u.target IS NULL THEN v.stopped_at END,
        attempts = 0, changed_at = now(),
        error_code = CASE WHEN u.target IS NULL AND v.stopped_at IS NOT NULL THEN v.error_code END,
        last_error = CASE WHEN u.target IS NULL AND v.stopped_at IS NOT NULL THEN v.last_error END
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

# Until when the lease of sliver `v` of slice `x` may last by a renewal whose answer never came; NULL without one.
MAY_LAST = """
    (SELECT max(coalesce(s.claim_until, s.ended_at, now())) + make_interval(secs => x.leaselen)
     FROM svm.operation o JOIN svm.step s ON s.operation = o.id AND s.node = v.node AND s.kind = 'renew'
     WHERE o.slice = x.id AND v.lease IS NOT NULL AND s.started_at < v.expires_at AND s.state <> 'done'
       AND coalesce(s.error_code, 'cancelled') IN ('cancelled', 'internal', 'timeout', 'unreachable'))
"""

# A ticket whose redemption was sent without an answer may have become a lease: until then it may be held.
_CONDEMN = text(f"""
    UPDATE svm.sliver AS v SET state = 'deleting', renew_at = NULL, changed_at = now(),
        expires_at = CASE WHEN v.lease IS NULL AND v.redeemed_at IS NOT NULL
            THEN v.expires_at + make_interval(secs => u.leaselen) ELSE greatest(v.expires_at, u.may_last) END
    FROM (SELECT v.slice, v.node, v.state AS before, x.leaselen, {MAY_LAST} AS may_last
          FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
          WHERE v.slice = :slice AND v.state = ANY(:sources)
            AND (CAST(:nodes AS text[]) IS NULL OR v.node = ANY(:nodes))
          ORDER BY v.slice, v.node FOR UPDATE OF v) AS u
    WHERE v.slice = u.slice AND v.node = u.node
    RETURNING v.node, u.before
""")  # noqa: S608 - made of constants of this file

_EXPIRE = text("""
    UPDATE svm.sliver AS v SET state = 'expired', renew_at = NULL, changed_at = now()
    FROM (SELECT slice, node, state AS before FROM svm.sliver WHERE state = ANY(:sources) AND expires_at <= now()
          ORDER BY slice, node FOR UPDATE SKIP LOCKED) AS u
    WHERE v.slice = u.slice AND v.node = u.node
    RETURNING v.slice, v.node, u.before
""")

# A row that is past its end but was not yet written down as expired counts as expired.
_GRANT = text("""
    INSERT INTO svm.sliver AS v (slice, node, position, node_name, api, agent, frontdoor_address, frontdoor_port,
        host_key, state, ticket, jti, expires_at)
    SELECT :slice, t.node, t.position + (SELECT coalesce(max(position), 0) FROM svm.sliver WHERE slice = :slice),
        t.node_name, t.api, t.agent, t.address, t.port, t.host_key, 'ticketed', t.ticket, t.jti, t.expires_at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t(position int, node text, node_name text, api text, agent text,
         address text, port int, host_key text, ticket text, jti text, expires_at timestamptz)
    ON CONFLICT (slice, node) DO UPDATE SET
        position = excluded.position, node_name = excluded.node_name, api = excluded.api, agent = excluded.agent,
        frontdoor_address = excluded.frontdoor_address, frontdoor_port = excluded.frontdoor_port,
        host_key = excluded.host_key, state = 'ticketed', ticket = excluded.ticket, jti = excluded.jti,
        expires_at = excluded.expires_at, redeemed_at = NULL, lease = NULL, renew_at = NULL, key_generation = 0,
        pair_generation = 0, attempts = 0, error_code = NULL, last_error = NULL, stopped_at = NULL, changed_at = now()
    WHERE v.state = ANY(:sources) OR (v.state = ANY(:living) AND v.expires_at <= now())
    RETURNING v.node
""")

# Looked at again under the lock: what has changed since the node was asked is no longer what it spoke of.
_STOP = text("""
    UPDATE svm.sliver AS v SET state = 'leased', stopped_at = now(), attempts = 0, changed_at = now(),
        error_code = :code, last_error = :reason
    FROM (SELECT slice, node, state AS before FROM svm.sliver
          WHERE slice = :slice AND node = :node AND state = ANY(:sources)
            AND changed_at < now() - interval '30 seconds' FOR UPDATE) AS u
    WHERE v.slice = u.slice AND v.node = u.node
    RETURNING u.before, v.state AS after
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


def condemn(connection: Connection, slice_row: UUID, nodes: Sequence[str] | None = None) -> dict[str, SliverState]:
    """Deletion begins: all slivers of the slice, or these. Node to the state it was in."""
    bound = {
        "slice": slice_row,
        "sources": list(MOVES["condemn"].sources),
        "nodes": None if nodes is None else [*nodes],
    }
    return {row.node: SliverState(row.before) for row in connection.execute(_CONDEMN, bound)}


def expire(connection: Connection) -> dict[Key, SliverState]:
    """Write down what has run out, by the database's clock."""
    rows = connection.execute(_EXPIRE, {"sources": list(MOVES["expire"].sources)})
    return {(row.slice, row.node): SliverState(row.before) for row in rows}


def stop(connection: Connection, slice_row: UUID, node: str, code: Code, reason: str) -> Moved | None:
    """Its node has the lease, and the VM does not run any more: (before, after), None when it was not to be moved."""
    bound = {"slice": slice_row, "node": node, "sources": list(MOVES["stop"].sources), "code": code, "reason": reason}
    row = connection.execute(_STOP, bound).one_or_none()
    return (SliverState(row.before), SliverState(row.after)) if row else None


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
