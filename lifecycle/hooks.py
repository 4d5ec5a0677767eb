"""Hooks: where a slice's owner is told by HTTP of what happens to it (docs/letters.md, "Hooks").

What happens is written into the outbox in the same transaction: by whoever calls `ended`, `lost` or `operations_ended`
here, and by `lifecycle/notices.py` when something is about to end. `tasks/deliver.py` sends it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, select, text

from lifecycle.outbox import post, post_to
from lifecycle.requests import BEAT
from lifecycle.rows import of_row
from lifecycle.seal import Seal
from models import svm
from models.states import HookState, Outcome, Verb
from rpc.webhooks import new_secret
from trust.errors import Code, Refusal

MOST_HOOKS = 10  # of one slice
TEST = "test"  # what a hook is told when its owner tries it
TOLD_NODES = 20  # of one operation
HEALING = (Verb.REPLACE, Verb.START)  # where beat asked for it
UNTOLD = (Verb.RELEASE, Verb.DELETESLICE)  # their failures are housekeeping: the slice itself has ended

_PUT = text("""
    INSERT INTO svm.hook (id, slice, url, states, sealed_secret) VALUES (:id, :slice, :url, :states, :sealed)
    ON CONFLICT (id) DO UPDATE SET states = excluded.states, sealed_secret = excluded.sealed_secret
""")
_LISTED = text("""
    SELECT h.id, h.url, h.states, h.made_at, d.id AS delivery, d.about, d.made_at AS at, d.sent_at, d.given_up_at,
        d.status, d.last_error, d.attempts, d.next_try_at
    FROM svm.hook h LEFT JOIN LATERAL (SELECT * FROM svm.delivery d WHERE d.hook = h.id
        ORDER BY d.attempts = 0, coalesce(d.sent_at, d.given_up_at, now()) DESC, d.due_at DESC LIMIT 1) d ON true
    WHERE h.slice = :slice ORDER BY h.made_at, h.url
""")
_HOLD_NOTHING = text("""
    SELECT x.id FROM svm.slice x WHERE x.id = ANY(:ids) AND NOT EXISTS (SELECT 1 FROM svm.sliver v
        WHERE v.slice = x.id AND v.state IN ('ticketed', 'leased', 'running', 'stopped') AND v.expires_at > now())
    ORDER BY x.id
""")
_NODES = text("""
    SELECT node, code, reason FROM svm.event
    WHERE operation = :operation AND type = 'node' AND ok = :ok ORDER BY seq LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook with what it was last told, or tried to be: `about` None = nothing yet."""

    id: UUID
    url: str
    states: tuple[HookState, ...]
    made_at: datetime
    delivery: UUID | None
    about: str | None
    at: datetime | None
    sent_at: datetime | None
    given_up_at: datetime | None
    status: int | None
    last_error: str | None
    attempts: int | None
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """An operation that has just ended."""

    id: UUID
    slice: UUID
    verb: Verb
    actor: str
    outcome: Outcome
    ok: int
    failed: int
    code: str | None
    reason: str | None


def put(connection: Connection, slice_row: UUID, url: str, states: Sequence[HookState], seal: Seal) -> str:
    """A hook; the one that has this URL gets these states. Its new secret. The caller has locked the slice.

    Raises Refusal(OVER_CAPACITY).
    """
    id, secret = _of(connection, slice_row, url) or uuid4(), new_secret()
    sealed = seal.seal(id, secret)
    connection.execute(_PUT, {"id": id, "slice": slice_row, "url": url, "states": list(states), "sealed": sealed})
    if len(listed(connection, slice_row)) > MOST_HOOKS:
        reason = f"a slice has at most {MOST_HOOKS} hooks; remove one with svm hook SLICE remove URL"
        raise Refusal(Code.OVER_CAPACITY, reason)
    return secret


def listed(connection: Connection, slice_row: UUID) -> list[Hook]:
    """All hooks of a slice, the oldest first."""
    rows = connection.execute(_LISTED, {"slice": slice_row})
    return [of_row(Hook, row, states=tuple(HookState(state) for state in row.states)) for row in rows]


def remove(connection: Connection, slice_row: UUID, url: str) -> None:
    """With all that it was not told yet. Raises Refusal(NOT_FOUND)."""
    table = svm.hook
    gone = connection.execute(delete(table).where(table.c.slice == slice_row, table.c.url == url))
    if not gone.rowcount:
        raise _unknown(url)


def try_out(connection: Connection, slice_row: UUID, url: str) -> UUID:
    """Have it told something that did not happen; the delivery. Raises Refusal(NOT_FOUND)."""
    id = _of(connection, slice_row, url)
    made = post_to(connection, id, TEST, {}) if id else None
    if made is None:
        raise _unknown(url)
    return made


def ended(connection: Connection, slices: Collection[UUID], reason: str) -> None:
    """Those of these slices that hold no lease any more have ended, for this reason."""
    for slice_row in connection.scalars(_HOLD_NOTHING, {"ids": list(slices)}).all() if slices else ():
        post(connection, slice_row, HookState.ENDED, {"reason": reason})


def lost(connection: Connection, slice_row: UUID, node: str, reason: str) -> None:
    """Something happened to a sliver that nobody asked svmd for."""
    post(connection, slice_row, HookState.FAILED, {"nodes": [{"node": node, "reason": reason}]})


def operations_ended(connection: Connection, operations: Iterable[Ended]) -> None:
    """What failed, and what was healed."""
    for each in operations:
        healed = each.actor == BEAT and each.verb in HEALING and each.ok > 0
        if each.outcome in (Outcome.FAILED, Outcome.PARTIAL) and each.verb not in UNTOLD:
            _tell(connection, each, HookState.FAILED, ok=False)
        if healed:
            _tell(connection, each, HookState.HEALED, ok=True)


def _tell(connection: Connection, one: Ended, state: HookState, *, ok: bool) -> None:
    if connection.scalar(select(svm.hook.c.id).where(svm.hook.c.slice == one.slice).limit(1)) is None:
        return
    found = connection.execute(_NODES, {"operation": one.id, "ok": ok, "most": TOLD_NODES})
    nodes = [{name: said for name, said in row._mapping.items() if said is not None} for row in found]
    why = {"code": one.code, "reason": one.reason} if one.code else {}
    body = {"operation": str(one.id), "verb": one.verb, "by": one.actor, "ok": one.ok, "failed": one.failed, **why}
    post(connection, one.slice, state, {**body, "nodes": nodes})


def _of(connection: Connection, slice_row: UUID, url: str) -> UUID | None:
    table = svm.hook
    return connection.scalar(select(table.c.id).where(table.c.slice == slice_row, table.c.url == url))


def _unknown(url: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"this slice has no hook {url[:200]!a}: svm hook SLICE list shows those it has")
