"""What came of a step, and what that means for its node and its operation. Pure: values in, a decision out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from lifecycle.claims import Claim
from lifecycle.events import EventType
from lifecycle.moves import MOVES
from lifecycle.transitions import Granted, Moved
from lifecycle.verbs import next_kind
from models.states import Kind, SliverState, StepState, Verb
from trust.errors import Code


@dataclass(frozen=True, slots=True)
class Done:
    """A step that did its work; only what its kind changes is set.

    Args:
        unchanged: the sliver was already where this step leads; nothing moves.
        lease, generation, expires_at: newleases and renew.
        frontdoor: newvms, when the node says another than its advertisement: (address, port, host key).
        key_generation: of the keys pushed.
        pair_generation: of the slice's own key pair that the node has now.
        tickets, slice_id, public_key, sealed_key: newtickets and replace.
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
    """What came of one claim."""

    claim: Claim
    result: Done | Failed


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
    """

    verb: Verb
    cancelled: bool = False
    replace: bool = False
    moved: Moved | None = None
    granted: Sequence[str] = ()
    keys_wanted: bool = False


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
    if claim.kind is Kind.DELETE and facts.verb is not Verb.DELETESLICE:
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
