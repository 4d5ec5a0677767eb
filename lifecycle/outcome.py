"""A step's outcome, from its claim to what it means; `lifecycle/record.py` and `lifecycle/unit_of_work.py` go on.

```
claim       here: a worker takes steps for a while, in a transaction that is committed before any request goes out
outcome     here: the worker says Done or Failed, and `decide` what that means. Pure: values in, a decision out
transition  record.py: in one transaction for many steps, the sliver moves if it may, and the step ends
counters    unit_of_work.py: how many steps the operation has left; with none it ends, else its window is refilled
event       unit_of_work.py: what its user sees, under the operation's next number
```

What counts is what is found under the locks: an outcome whose claim has lapsed, or been taken over, changes nothing; a
sliver that may not move fails its step; a step that waits for another try is held again; what follows at a node begins
in the slot of the step that ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from lifecycle.events import EventType
from lifecycle.facts import SliceFacts, SliverFacts, slice_facts, sliver_facts
from lifecycle.moves import MOVES
from lifecycle.rows import of_row
from lifecycle.steps import Hold
from lifecycle.verbs import next_kind
from models.states import Kind, SliverState, StepState, Verb
from trust.errors import Code

Moved = tuple[SliverState, SliverState]  # before and after

# Deletion wins: nothing but delete and release is taken once the slice is no longer open.
_TAKE = text("""
    WITH due AS (
        SELECT id FROM svm.step AS s
        WHERE id = ANY(:ids) AND next_run_at <= now()
          AND (state = 'released' OR (state = 'running' AND claim_until < now()))
          AND (kind IN ('delete', 'release')
               OR NOT EXISTS (SELECT 1 FROM svm.slice WHERE slice.id = s.slice AND slice.state <> 'open'))
        ORDER BY id FOR UPDATE OF s SKIP LOCKED),
    taken AS (
        UPDATE svm.step SET state = 'running', claim_token = :token, claim_worker = :worker, attempts = attempts + 1,
            claim_until = now() + make_interval(secs => :seconds), started_at = coalesce(started_at, now())
        FROM due WHERE step.id = due.id RETURNING step.*)
    SELECT t.id, t.kind, t.operation, t.node, t.attempts, t.tries,
        extract(epoch FROM now() - t.started_at) AS age, extract(epoch FROM now() - o.started_at) AS asked,
        o.started_at AS asked_at,
        o.verb, o.connect_timeout, o.options, o.idempotency_key AS request, t.slice,
        v.node AS sliver, v.node_name, v.api, v.agent, v.state AS sliver_state, v.ticket, v.jti, v.lease, v.generation,
        v.expires_at, extract(epoch FROM now() - v.expires_at) AS overdue, v.redeemed_at, v.key_generation,
        v.pair_generation, v.replaces
    FROM taken t
    JOIN svm.operation o ON o.id = t.operation
    LEFT JOIN svm.sliver v ON v.slice = t.slice AND v.node = t.node
    ORDER BY t.id
""")

# Once for all steps of a slice: it may name thousands of addresses.
_SLICES = text("""
    SELECT id, slice_id, name, owner, state, numnodes, leaselen, ips, agents, needs, public_key, sealed_key,
        key_generation, pair_generation, pair_wanted, leaselen_changed,
        CASE WHEN working_until > now() THEN working END AS working,
        CASE WHEN standing_until > now() THEN standing END AS standing,
        CASE WHEN by_link_until > now() THEN by_link END AS by_link
    FROM svm.slice WHERE id = ANY(:ids)
""")

# From now on the ticket may be burnt at its node, whatever becomes of the answer.
_MARK_REDEEMED = text("""
    UPDATE svm.sliver SET redeemed_at = now()
    WHERE (slice, node) IN (
        SELECT v.slice, v.node FROM svm.step s JOIN svm.sliver v ON v.slice = s.slice AND v.node = s.node
        WHERE s.id = ANY(:ids) AND v.redeemed_at IS NULL ORDER BY v.slice, v.node FOR UPDATE OF v)
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed step.

    Args:
        tries: transient failures recorded so far.
        age: seconds since it first started; `asked` since its operation was asked for, at `asked_at`, under the key
            `request`.
    """

    id: int
    token: UUID
    kind: Kind
    operation: UUID
    verb: Verb
    node: str | None
    attempts: int
    tries: int
    age: int
    asked: int
    asked_at: datetime
    connect_timeout: int
    options: Mapping[str, object]
    slice: SliceFacts | None
    sliver: SliverFacts | None
    request: str | None = None


def claim(connection: Connection, ids: Sequence[int], *, seconds: int, worker: int | None = None) -> list[Claim]:
    """Take those of `ids` that are due and unheld (released, or their claim has lapsed), for `seconds`.

    `worker`: whose claim it is, which ends with its session (`lifecycle/presence.py`); None: it only lapses.

    The rest is someone else's or done: passed over quietly. The caller commits before it acts.
    """
    token = uuid4()
    rows = connection.execute(_TAKE, {"ids": list(ids), "token": token, "seconds": seconds, "worker": worker}).all()
    redeeming = [row.id for row in rows if row.kind == Kind.NEWLEASES]
    if redeeming:
        connection.execute(_MARK_REDEEMED, {"ids": redeeming})
    wanted = list({row.slice for row in rows if row.slice})
    slices = {row.id: slice_facts(row) for row in connection.execute(_SLICES, {"ids": wanted})} if wanted else {}
    return [_claim(row, token, slices.get(row.slice)) for row in rows]


def _claim(row: Row[Any], token: UUID, slice_: SliceFacts | None) -> Claim:
    about = {"slice": slice_, "sliver": sliver_facts(row) if row.sliver else None}
    named = {"kind": Kind(row.kind), "verb": Verb(row.verb), "token": token}
    return of_row(Claim, row, age=int(row.age), asked=int(row.asked), **named, **about)


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
class Done:
    """A step that did its work; only what its kind changes is set.

    Args:
        unchanged: the sliver was already where this step leads; nothing moves.
        lease, generation, expires_at: newleases and renew.
        frontdoor: newvms, when the node says another than its advertisement: (address, port, host key).
        key_generation: of the keys pushed. pair_generation: of the slice's own key pair that the node has now.
        tickets, slice_id, public_key, sealed_key, digest (of the image): newtickets and replace.
        reason, detail: for the event that the user sees.
    """

    unchanged: bool = False
    lease: str | None = field(default=None, repr=False)
    generation: int | None = None
    expires_at: datetime | None = None
    frontdoor: tuple[str, int, str] | None = None
    key_generation: int | None = None
    pair_generation: int | None = None
    tickets: tuple[Granted, ...] = ()
    slice_id: UUID | None = None
    public_key: str | None = None
    sealed_key: bytes | None = field(default=None, repr=False)
    digest: str | None = None
    reason: str | None = None
    detail: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A step that did not. `again_in` = try again after so many seconds; None = it has failed for good."""

    code: Code
    reason: str
    again_in: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one claim. `hold`: its worker goes on with the next step at that node, which is claimed so."""

    claim: Claim
    result: Done | Failed
    hold: Hold | None = None


NODELESS = (Kind.NEWTICKETS, Kind.RELEASE, Kind.RECONCILE, Kind.CANARY)
REPLACEABLE = (Kind.NEWLEASES, Kind.NEWVMS)
_TAKEN = {"ok": False, "code": Code.BUSY, "reason": "an older sliver of this slice is still being deleted there"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found under the locks.

    Args:
        moved: the sliver's states before and after, None when its row was not allowed to move.
        granted: nodes whose sliver rows became ticketed (newtickets, replace).
        keys_wanted: the slice has had keys, which a new VM needs.
        earlier: the step is about an earlier slice of that name, not the operation's own.
    """

    verb: Verb
    cancelled: bool = False
    replace: bool = False
    moved: Moved | None = None
    granted: Sequence[str] = ()
    keys_wanted: bool = False
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """A step that comes next. `slot`: it takes over the slot of the one that ended."""

    kind: Kind
    node: str | None
    slot: bool


@dataclass(frozen=True, slots=True)
class Say:
    """An event to write."""

    type: EventType
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """How a step ends. `ok` and `failed` count nodes that are finished; `refused`: the operation as a whole was."""

    state: StepState
    says: tuple[Say, ...] = ()
    follows: tuple[Follow, ...] = ()
    ok: int = 0
    failed: int = 0
    error: Failed | None = None
    refused: bool = field(default=False)


def decide(claim: Claim, result: Done | Failed, facts: Facts) -> Decision:
    """One step's end."""
    if isinstance(result, Failed) and result.again_in is not None and not facts.cancelled:
        return _again(claim, result)
    if claim.kind is Kind.DELETE and facts.earlier and facts.verb is not Verb.DELETESLICE:
        return _made_room(claim, result)
    if isinstance(result, Failed):
        return _failed(claim, result, facts)
    if claim.kind in (Kind.NEWTICKETS, Kind.REPLACE):
        return _granted(claim, result, facts)
    if claim.kind in NODELESS:
        return Decision(StepState.DONE, (Say(EventType.NOTE, _told(claim, result, True)),))
    # A delete that finds its sliver deleted already, by reconcile say, has what it wanted.
    if facts.moved is None and not result.unchanged and claim.kind in MOVES and claim.kind is not Kind.DELETE:
        gone = Failed(Code.CANCELLED, "its sliver was deleted or replaced meanwhile")
        return _failed(claim, gone, facts)
    return _moved_on(claim, result, facts)


def _told_failed(claim: Claim, failed: Failed) -> dict[str, Any]:
    return {"node": claim.node, "kind": claim.kind, "code": failed.code, "reason": failed.reason}


def _again(claim: Claim, failed: Failed) -> Decision:
    again = {"again_in": round(failed.again_in or 0, 1)}
    return Decision(
        StepState.HELD, (Say(EventType.STEP, {**_told_failed(claim, failed), "detail": again}),), error=failed
    )


def _failed(claim: Claim, failed: Failed, facts: Facts) -> Decision:
    said = {**_told_failed(claim, failed), "ok": False}
    if claim.kind in NODELESS:
        refused = claim.kind is Kind.NEWTICKETS
        return Decision(StepState.FAILED, (Say(EventType.NOTE, said),), error=failed, refused=refused)
    if _gives_way(claim, failed, facts):
        follows = (Follow(Kind.REPLACE, claim.node, slot=True),)
        said["detail"] = {"replaced": True}
        return Decision(StepState.FAILED, (Say(EventType.NODE, said),), follows, error=failed)
    return Decision(StepState.FAILED, (Say(EventType.NODE, said),), failed=1, error=failed)


def _made_room(claim: Claim, result: Done | Failed) -> Decision:
    """A sliver of an earlier slice of that name, which stood in the way of this one: no node of the operation's."""
    gone = isinstance(result, Done)
    reason = (
        f"{claim.node}: its earlier sliver is gone" if gone else f"{claim.node} has an earlier sliver: {result.reason}"
    )
    said = {"node": claim.node, "kind": claim.kind, "ok": gone, "reason": reason}
    if isinstance(result, Failed):
        return Decision(StepState.FAILED, (Say(EventType.NOTE, {**said, "code": result.code}),), error=result)
    return Decision(StepState.DONE, (Say(EventType.NOTE, said),))


def _gives_way(claim: Claim, failed: Failed, facts: Facts) -> bool:
    """Whether another node takes this one's place (createslice --replace, heal)."""
    return facts.replace and not facts.cancelled and claim.kind in REPLACEABLE and failed.code is not Code.CANCELLED


def _granted(claim: Claim, result: Done, facts: Facts) -> Decision:
    follow = next_kind(facts.verb, claim.kind)
    told = Say(EventType.NOTE, {"kind": claim.kind, "ok": True, "reason": result.reason, "detail": result.detail})
    nodes = [{"node": node, "kind": claim.kind, "after": SliverState.TICKETED} for node in facts.granted]
    lost = [ticket.node for ticket in result.tickets if ticket.node not in facts.granted]
    says = (told, *(Say(EventType.NODE, {"node": node, "kind": claim.kind, **_TAKEN}) for node in lost))
    if follow is None:
        ends = (Say(EventType.NODE, {**node, "ok": True}) for node in nodes)
        return Decision(StepState.DONE, (*says, *ends), ok=len(nodes), failed=len(lost))
    if facts.cancelled:
        ends = (Say(EventType.NODE, {**node, **_stopped(claim.kind)}) for node in nodes)
        return Decision(StepState.DONE, (*says, *ends), failed=len(nodes) + len(lost))
    slot = claim.kind is Kind.REPLACE
    steps = (Say(EventType.STEP, {**node, "ok": True}) for node in nodes)
    follows = tuple(Follow(follow, node, slot) for node in facts.granted)
    return Decision(StepState.DONE, (*says, *steps), follows, failed=len(lost))


def _moved_on(claim: Claim, result: Done, facts: Facts) -> Decision:
    follow = next_kind(facts.verb, claim.kind)
    if follow is None and claim.kind is Kind.NEWVMS and facts.keys_wanted:
        follow = Kind.ADDKEY
    said = _told(claim, result, True)
    if facts.moved is not None:
        said["before"], said["after"] = facts.moved
    if follow is None:
        return Decision(StepState.DONE, (Say(EventType.NODE, said),), ok=1)
    if facts.cancelled:
        return Decision(StepState.DONE, (Say(EventType.NODE, {**said, **_stopped(claim.kind)}),), failed=1)
    return Decision(StepState.DONE, (Say(EventType.STEP, said),), (Follow(follow, claim.node, slot=True),))


def _told(claim: Claim, result: Done, ok: bool) -> dict[str, Any]:
    return {
        "node": claim.node,
        "kind": claim.kind,
        "ok": ok,
        "reason": result.reason,
        "detail": dict(result.detail),
    }


def _stopped(kind: Kind) -> dict[str, Any]:
    return {"ok": False, "code": Code.CANCELLED, "reason": f"cancelled after its {kind} step"}
