"""What each verb comes to: checked, decided and written under the slice's lock, in the transaction that opens it.

Each planner gets the slice's locked row (the open one, else one being deleted, else None) and returns a `Plan`. A verb
that is only a step at each VM needs none: its row in `lifecycle/verbs.py` says it all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from lifecycle import hooks, replacing
from lifecycle.earlier import earlier_slivers
from lifecycle.keypair import want_next
from lifecycle.keys import add_keys, remove_all_keys, remove_keys
from lifecycle.moves import MOVES
from lifecycle.needs import refuse_other_needs
from lifecycle.permissions import KEPT, autorenews, keep_delegations, set_autorenew
from lifecycle.requests import OperationRequest, Plan, SliceSpec
from lifecycle.resizing import give_back, lengthen, shrink, surplus, told
from lifecycle.retention import purge
from lifecycle.transitions import condemn
from lifecycle.verbs import VERBS, is_exclusive
from models import svm
from models.states import LEASED, LIFECYCLE, LIVE, Kind, SliceState, SliverState, Verb
from trust.errors import Code, Refusal

SliceRow = Row[Any] | None
Planner = Callable[[Connection, OperationRequest, SliceRow], Plan]


def _newtickets(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Tickets for an empty slice, or for the nodes that a half-made one lacks."""
    return _make(connection, request, row, goes_on=False)


def _createslice(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Exactly newtickets, newleases, newvms; on a half-made slice it goes on where it stopped."""
    return _make(connection, request, row, goes_on=True)


def _make(connection: Connection, request: OperationRequest, row: SliceRow, *, goes_on: bool) -> Plan:
    spec = request.spec
    if spec is None:
        raise Refusal(Code.BAD_INPUT, f"{request.verb} needs a slice file")
    own = row is not None and row.owner == str(request.owner)
    if row is not None and not own and row.state == SliceState.OPEN:
        raise Refusal(Code.NAME_TAKEN, f"the name {request.slice} is somebody else's: choose another")
    if row is not None and own:
        _refuse_busy(connection, row)
    if row is None or row.state != SliceState.OPEN:
        slice_row = _insert_slice(connection, request, spec)
        notes = (autorenews(connection, request, slice_row),) if request.autorenew else ()
        plan = Plan(slice_row, request.slice, ((Kind.NEWTICKETS, None),), notes, spec.numnodes)
        return _after_earlier(connection, request, plan)
    return _after_earlier(connection, request, _go_on(connection, request, row, spec, goes_on=goes_on))


def _go_on(connection: Connection, request: OperationRequest, row: Row[Any], spec: SliceSpec, *, goes_on: bool) -> Plan:
    """What an open slice lacks, has too much, or has otherwise than the file says; `goes_on`: to its VMs."""
    living = _effective(connection, row.id, LIVE)
    _fit(connection, request, spec, row, living, goes_on=goes_on)
    gone = surplus(living, spec)
    staying = {node: state for node, state in living.items() if node not in gone}
    steps: list[tuple[Kind, str | None]] = [*give_back(connection, row.id, gone)]
    steps += lengthen(connection, row, spec, staying)
    if goes_on:
        died = _nodes(connection, row.id, "v.state = 'stopped' AND v.died_at IS NOT NULL AND v.expires_at > now()")
        after = {SliverState.TICKETED: Kind.NEWLEASES, SliverState.LEASED: Kind.NEWVMS}
        steps += [(after[state], node) for node, state in staying.items() if state in after]
        steps += [(Kind.NEWVMS, node) for node in died if node in staying]
    if len(living) < spec.numnodes:
        steps.append((Kind.NEWTICKETS, None))
    if not steps:
        raise Refusal(Code.NAME_TAKEN, _complete(request, living))
    notes = (autorenews(connection, request, row.id),) if request.autorenew else ()
    return Plan(row.id, row.name, tuple(steps), (*notes, *told(gone)), max(spec.numnodes, len(steps)))


def _after_earlier(connection: Connection, request: OperationRequest, plan: Plan) -> Plan:
    """Tickets are asked for when nodes that still have an earlier sliver of that name have been asked to end it."""
    tickets = (Kind.NEWTICKETS, None)
    earlier = earlier_slivers(connection, request) if tickets in plan.steps else ()
    if not earlier:
        return plan
    return replace(plan, earlier=earlier, steps=tuple(step for step in plan.steps if step != tickets))


def _complete(request: OperationRequest, living: Mapping[str, SliverState]) -> str:
    name, running = request.slice, sum(state is SliverState.RUNNING for state in living.values())
    stopped = sum(state is SliverState.STOPPED for state in living.values())
    if stopped:
        return f"{name} already has its {len(living)} nodes, {stopped} of them stopped: svm start {name} starts them"
    if running == len(living):
        return f"{name} already runs on its {running} nodes: renewslice and addkey work on it, deleteslice ends it"
    return f"{name} already has its {len(living)} tickets: svm createslice, or newleases and newvms, go on with it"


def _fit(
    connection: Connection,
    request: OperationRequest,
    spec: SliceSpec,
    row: Row[Any],
    living: Mapping[str, Any],
    *,
    goes_on: bool,
) -> None:
    """The slice takes what the file says; newtickets alone changes no slice that holds nodes."""
    refuse_other_needs(spec, row, len(living))
    if living and not goes_on and (row.numnodes, row.leaselen) != (spec.numnodes, spec.leaselen):
        raise Refusal(
            Code.BAD_INPUT,
            f"{row.name} holds {len(living)} nodes and was asked for with numnodes {row.numnodes} and leaselen"
            f" {row.leaselen}: use that file to go on; svm createslice FILE changes it",
        )
    table = svm.slice_table
    asked = _asked(request, spec)
    if living:
        del asked["needs"]  # where its image's digest stands
    connection.execute(update(table).where(table.c.id == row.id).values(asked))
    keep_delegations(connection, request, row)
    set_autorenew(connection, request, row.id)


def _asked(request: OperationRequest, spec: SliceSpec) -> dict[str, Any]:
    named = {"ips": list(spec.ips), "agents": list(request.agents)}
    return {"numnodes": spec.numnodes, "leaselen": spec.leaselen, "needs": spec.needs.to_json(), **named}


def _insert_slice(connection: Connection, request: OperationRequest, spec: SliceSpec) -> UUID:
    values = {"name": request.slice, "owner": str(request.owner), **_asked(request, spec)}
    attempt = connection.begin_nested()
    try:
        row = connection.execute(insert(svm.slice_table).values(values).returning(svm.slice_table)).one()
    except IntegrityError:  # the same name at the same time; the other came first
        attempt.rollback()
        raise Refusal(Code.BUSY, f"{request.slice} is being created at this moment: try again") from None
    attempt.commit()
    keep_delegations(connection, request, row)
    set_autorenew(connection, request, row.id)
    return row.id  # type: ignore[no-any-return]


def _newleases(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Redeem the tickets that wait, or those of the named nodes."""
    return _waiting(connection, request, row, Kind.NEWLEASES)


def _newvms(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Make the VMs whose leases wait, or those of the named nodes."""
    return _waiting(connection, request, row, Kind.NEWVMS)


def _waiting(connection: Connection, request: OperationRequest, row: SliceRow, kind: Kind) -> Plan:
    found = _begin(connection, request, row)
    nodes = list(dict.fromkeys(request.nodes))
    if nodes:
        _refuse_strangers(connection, found, nodes)
    else:
        # A ticket that has run out is among them, so that its node gets its line and the advice what to do.
        tickets = "v.lease IS NULL AND v.state IN ('ticketed', 'expired')"
        leases = "(v.state = 'leased' OR (v.state = 'stopped' AND v.died_at IS NOT NULL))"
        nodes = _nodes(connection, found.id, tickets if kind is Kind.NEWLEASES else leases)
    missing = "a ticket that waits for a lease" if kind is Kind.NEWLEASES else "a lease that waits for its VM"
    notes = () if nodes else (f"nothing to do: no node of {found.name} has {missing}",)
    return Plan(found.id, found.name, tuple((kind, node) for node in nodes), notes, len(nodes))


def _renewslice(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Each lease replaced by one to now + leaselen; beat names the nodes that are due."""
    found = _begin(connection, request, row)
    leased = "v.state IN ('leased', 'running', 'stopped') AND v.expires_at > now()"
    nodes = list(request.nodes) or _nodes(connection, found.id, leased)
    if not nodes:
        raise Refusal(Code.NOT_FOUND, f"{found.name} holds no lease to renew: svm createslice FILE makes it anew")
    ended = "v.state IN ('leased', 'running', 'stopped', 'expired') AND v.expires_at <= now()"
    over = _nodes(connection, found.id, ended)
    note = f"the leases of {len(over)} nodes have ended: svm createslice FILE makes their VMs anew"
    steps = tuple((Kind.RENEW, node) for node in nodes)
    return Plan(found.id, found.name, steps, (note,) if over and not request.nodes else (), len(nodes))


def _keys(change: Callable[[Connection, UUID, Sequence[str]], None]) -> Planner:
    """addkey, delkey, nukekeys: change the wanted set, then push the whole of it to every VM."""

    def plan(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
        found = _begin(connection, request, row)
        change(connection, found.id, request.keys)
        return _at_each_vm(connection, request, found, ": each gets the keys when it is made")

    return plan


def _rekey(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """A new key pair of the slice's own, for every VM; beat names those that an earlier one did not reach."""
    found = _begin(connection, request, row)
    if not request.nodes:
        want_next(connection, found.id)
    return _at_each_vm(connection, request, found, ": each gets the new pair when it is made")


def _simple(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Of a verb without a planner of its own."""
    return _at_each_vm(connection, request, _begin(connection, request, row))


def _at_each_vm(connection: Connection, request: OperationRequest, found: Row[Any], later: str = "") -> Plan:
    """The verb's first step at each VM that it can be done to, or at the named ones. `later`: what becomes of VMs still
    to come."""
    kind = VERBS[request.verb].chain[0]
    states = ", ".join(f"'{state}'" for state in MOVES[kind].sources)
    nodes = list(dict.fromkeys(request.nodes))
    _refuse_strangers(connection, found, nodes)
    nodes = nodes or _nodes(connection, found.id, f"v.state IN ({states}) AND v.expires_at > now()")
    notes = () if nodes else (f"{found.name} has no VM yet{later}",)
    return Plan(found.id, found.name, tuple((kind, node) for node in nodes), notes, len(nodes))


def _deleteslice(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """From this transaction on nothing but the deletion is claimed or recorded."""
    found = _own(request, row)
    _refuse_busy(connection, found, conflicting=(Verb.DELETESLICE,))
    keep_delegations(connection, request, found)
    table = svm.slice_table
    ending = {"state": SliceState.DELETING, "autorenew": False, "heal": False}
    connection.execute(update(table).where(table.c.id == found.id).values(**ending))
    if any(state in LEASED for state in condemn(connection, found.id).values()):
        hooks.ended(connection, {found.id}, "its owner deletes it")
    nodes = _nodes(connection, found.id, "v.state = 'deleting'")
    earlier = earlier_slivers(connection, request, found)
    steps: tuple[tuple[Kind, str | None], ...] = tuple((Kind.DELETE, node) for node in nodes)
    if not steps and not earlier:
        steps = ((Kind.RELEASE, None),)
    return Plan(found.id, found.name, steps, nodes=len(nodes) + len(earlier), earlier=earlier)


def _shrink(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """These nodes are given back."""
    found = _begin(connection, request, row)
    _refuse_strangers(connection, found, request.nodes)
    steps = shrink(connection, request, found)
    return Plan(found.id, found.name, steps, told(request.nodes), len(steps))


def _replace(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """For heal: these nodes give way to others."""
    found = _begin(connection, request, row)
    _refuse_strangers(connection, found, request.nodes)
    steps = replacing.steps(connection, found.id, request.nodes)
    return Plan(found.id, found.name, steps, (request.note,) if request.note else (), len(steps))


def _clean(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Purge the owner's slices that hold nothing valid."""
    del row
    gone = purge(connection, request.owner)
    return Plan(None, "", notes=tuple(f"purged {name}" for name in gone))


def _autorenew(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """autorenew on (with a standing delegation) or off."""
    found = _begin(connection, request, row)
    set_autorenew(connection, request, found.id)
    if request.autorenew:
        return Plan(found.id, found.name, notes=(autorenews(connection, request, found.id),))
    return Plan(found.id, found.name, notes=(request.note or "autorenew off",))


def _heal(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """heal on (with a standing delegation that covers it) or off."""
    found = _begin(connection, request, row)
    table = svm.slice_table
    covers = table.c.standing_heals & (table.c.standing_until > text("now()"))
    if request.heal and not connection.scalar(select(covers).where(table.c.id == found.id)):
        raise Refusal(
            Code.BAD_INPUT, f"heal needs a standing delegation that covers it: svm heal {found.name} on signs one"
        )
    connection.execute(update(table).where(table.c.id == found.id).values(heal=bool(request.heal)))
    return Plan(found.id, found.name, notes=("heal on" if request.heal else "heal off",))


def _delegate(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Keep a new standing delegation."""
    if request.standing is None:
        raise Refusal(Code.BAD_INPUT, "delegate needs a standing delegation")
    found = _begin(connection, request, row)
    return Plan(found.id, found.name, notes=(f"delegated until {request.standing.expires_at:%Y-%m-%d %H:%M:%S} UTC",))


def _undelegate(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """Forget all delegations and refuse any older one; what is under way is cancelled."""
    found = _own_open(request, row)
    _refuse_busy(connection, found, conflicting=(Verb.DELETESLICE,))
    table = svm.slice_table
    nothing = dict.fromkeys(f"{kept}{end}" for kept in KEPT for end in ("", "_until"))
    off = {"standing_heals": False, "autorenew": False, "heal": False, "refused_before": text("now()")}
    connection.execute(update(table).where(table.c.id == found.id).values(**nothing, **off))
    return Plan(found.id, found.name, notes=("delegations withdrawn; autorenew and heal are off",))


def plan(connection: Connection, request: OperationRequest, row: SliceRow) -> Plan:
    """What it comes to. Raises Refusal as `lifecycle.operations.start`."""
    return _PLANNERS.get(request.verb, _simple)(connection, request, row)


_PLANNERS: dict[Verb, Planner] = {
    Verb.CREATESLICE: _createslice,
    Verb.NEWTICKETS: _newtickets,
    Verb.NEWLEASES: _newleases,
    Verb.NEWVMS: _newvms,
    Verb.ADDKEY: _keys(add_keys),
    Verb.DELKEY: _keys(remove_keys),
    Verb.NUKEKEYS: _keys(remove_all_keys),
    Verb.REKEY: _rekey,
    Verb.RENEWSLICE: _renewslice,
    Verb.DELETESLICE: _deleteslice,
    Verb.REPLACE: _replace,
    Verb.SHRINK: _shrink,
    Verb.CLEAN: _clean,
    Verb.AUTORENEW: _autorenew,
    Verb.HEAL: _heal,
    Verb.DELEGATE: _delegate,
    Verb.UNDELEGATE: _undelegate,
}


def _own(request: OperationRequest, row: SliceRow) -> Row[Any]:
    if row is None:
        raise Refusal(Code.NOT_FOUND, f"no slice {request.slice}: svm slices lists yours, createslice makes one")
    if row.owner != str(request.owner):
        raise Refusal(Code.NOT_OWNER, f"{request.slice} is somebody else's slice: svm slices lists yours")
    return row


def _own_open(request: OperationRequest, row: SliceRow) -> Row[Any]:
    found = _own(request, row)
    if found.state != SliceState.OPEN:
        raise Refusal(
            Code.NOT_FOUND, f"{request.slice} is being deleted: svm status {request.slice} shows what is left"
        )
    return found


def _begin(connection: Connection, request: OperationRequest, row: SliceRow) -> Row[Any]:
    """The caller's own open slice, whose delegations are kept; not while another verb excludes this one."""
    found = _own_open(request, row)
    if is_exclusive(request.verb):
        _refuse_busy(connection, found)
    keep_delegations(connection, request, found)
    return found


def _refuse_busy(connection: Connection, row: Row[Any], conflicting: Sequence[Verb] = LIFECYCLE) -> None:
    """One lifecycle operation at a time; the slice's lock is held, so none can begin meanwhile."""
    table = svm.operation
    open_ones = select(table.c.id, table.c.verb).where(
        table.c.slice == row.id, table.c.ended_at.is_(None), table.c.verb.in_(conflicting)
    )
    other = connection.execute(open_ones.limit(1)).one_or_none()
    if other is not None:
        ends = "it cannot be cancelled" if other.verb == Verb.DELETESLICE else f"svm cancel {row.name} ends it"
        reason = f"{other.verb} is under way on {row.name}: svm watch {row.name} follows it, {ends}"
        raise Refusal(Code.BUSY, reason, operation=str(other.id), verb=other.verb)


def _refuse_strangers(connection: Connection, row: Row[Any], nodes: Sequence[str]) -> None:
    members = set(_nodes(connection, row.id, "v.state NOT IN ('deleting', 'deleted')"))
    for node in nodes:
        if node not in members:
            raise Refusal(Code.NOT_FOUND, f"{node} is not a node of {row.name}: svm status {row.name} lists them")


def _effective(connection: Connection, slice_row: UUID, states: Sequence[SliverState]) -> dict[str, SliverState]:
    """Nodes in these states that are not past their end, in order of allocation."""
    table = svm.sliver
    found = select(table.c.node, table.c.state).where(
        table.c.slice == slice_row, table.c.state.in_(states), table.c.expires_at > text("now()")
    )
    return {row.node: SliverState(row.state) for row in connection.execute(found.order_by(table.c.position))}


def _nodes(connection: Connection, slice_row: UUID, what: str) -> list[str]:
    """Nodes of a slice for which `what`, a condition written in this file, holds; in order of allocation."""
    query = text(f"SELECT v.node FROM svm.sliver v WHERE v.slice = :slice AND {what} ORDER BY v.position, v.node")  # noqa: S608
    return list(connection.scalars(query, {"slice": slice_row}))
