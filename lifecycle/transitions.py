"""Slivers that move without a step: condemned, expired, removed, found stopped or running; after `lifecycle/moves.py`.

What steps move is in `lifecycle/record.py`, under the same rule. The caller writes the events in the same transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle import hooks
from lifecycle.moves import MOVES
from lifecycle.outcome import Moved
from models.states import LEASED, SliverState
from trust.errors import Code

Key = tuple[UUID, str]  # a sliver's row: slice and node
RAN_OUT = "its leases have run out"

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

# Looked at again under the lock: what has changed since the node was asked is no longer what it spoke of.
_MOVE = """
    UPDATE svm.sliver AS v SET state = :to, {and_so}, attempts = 0, changed_at = now(),
        error_code = :code, last_error = :reason
    FROM (SELECT slice, node, state AS before FROM svm.sliver
          WHERE slice = :slice AND node = :node AND state = ANY(:sources)
            AND changed_at < now() - interval '30 seconds' FOR UPDATE) AS u
    WHERE v.slice = u.slice AND v.node = u.node
    RETURNING u.before, v.state AS after
"""
_FOUND = text(_MOVE.format(and_so="died_at = :died_at"))
_REMOVE = text(_MOVE.format(and_so="renew_at = NULL, expires_at = least(v.expires_at, now())"))


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
    found = {(row.slice, row.node): SliverState(row.before) for row in rows}
    hooks.ended(connection, {slice_row for (slice_row, _), before in found.items() if before in LEASED}, RAN_OUT)
    return found


def learn(connection: Connection, key: Key, move: str, died: tuple[datetime, Code, str] | None = None) -> Moved | None:
    """Its node says that it is stopped, or runs: (before, after), None when it was not to be moved.

    `died`: of one that ended by itself, when, and what is noted as its error.
    """
    at, code, reason = died or (None, None, None)
    states = {"sources": list(MOVES[move].sources), "to": MOVES[move].to}
    bound = {"slice": key[0], "node": key[1], "died_at": at, "code": code, "reason": reason}
    row = connection.execute(_FOUND, bound | states).one_or_none()
    if row is None:
        return None
    if reason is not None:
        hooks.lost(connection, *key, reason)
    return SliverState(row.before), SliverState(row.after)


def remove(connection: Connection, key: Key, code: Code, reason: str) -> Moved | None:
    """Its node has removed it, by the order of plc's operator, and its lease is over: as `learn`."""
    states = {"sources": list(MOVES["remove"].sources), "to": MOVES["remove"].to}
    bound = {"slice": key[0], "node": key[1], "code": code, "reason": reason}
    row = connection.execute(_REMOVE, bound | states).one_or_none()
    if row is None:
        return None
    hooks.lost(connection, *key, reason)
    hooks.ended(connection, {key[0]}, reason)
    return SliverState(row.before), SliverState(row.after)
