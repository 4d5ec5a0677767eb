"""What each verb comes to: checked, decided and written under the slice's lock, in the transaction that opens it.

Each planner gets the slice's locked row (the open one, else one being deleted, else None) and returns a `Plan`. A verb
that is only a step at each VM needs none: its row in `lifecycle/verbs.py` says it all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from lifecycle.earlier import earlier_slivers
from lifecycle.keypair import want_next
from lifecycle.keys import add_keys, remove_all_keys, remove_keys
from lifecycle.requests import Given, OperationRequest, Plan, SliceSpec
from lifecycle.retention import purge
from lifecycle.transitions import condemn
from lifecycle.verbs import VERBS, is_exclusive
from models import svm
from models.states import LIFECYCLE, LIVE, Kind, SliceState, SliverState, Verb
from trust.errors import Code, Refusal

SliceRow = Row[Any] | None
Planner = Callable[[Connection, OperationRequest, SliceRow], Plan]


def _newtickets(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Tickets for an empty slice, or for the nodes that a half-made one lacks."""
    return _make(connection, wanted, row, goes_on=False)


def _createslice(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Exactly newtickets, newleases, newvms; on a half-made slice it goes on where it stopped."""
    return _make(connection, wanted, row, goes_on=True)


def _make(connection: Connection, wanted: OperationRequest, row: SliceRow, *, goes_on: bool) -> Plan:
    spec = wanted.spec
    if spec is None:
        raise Refusal(Code.BAD_INPUT, f"{wanted.verb} needs a slice file")
    own = row is not None and row.owner == str(wanted.owner)
    if row is not None and not own and row.state == SliceState.OPEN:
        raise Refusal(Code.NAME_TAKEN, f"the name {wanted.slice} is somebody else's: choose another")
    if row is not None and own:
        _refuse_busy(connection, row)
    if row is None or row.state != SliceState.OPEN:
        slice_row = _insert_slice(connection, wanted, spec)
        notes = (_autorenews(connection, wanted, slice_row),) if wanted.autorenew else ()
        plan = Plan(slice_row, wanted.slice, ((Kind.NEWTICKETS, None),), notes, spec.numnodes)
        return _after_earlier(connection, wanted, plan)
    living = _effective(connection, row.id, LIVE)
    _fit(connection, wanted, spec, row, living)
    after = {SliverState.TICKETED: Kind.NEWLEASES, SliverState.LEASED: Kind.NEWVMS} if goes_on else {}
    steps: list[tuple[Kind, str | None]] = [(after[state], node) for node, state in living.items() if state in after]
    if len(living) < spec.numnodes:
        steps.append((Kind.NEWTICKETS, None))
    if not steps:
        raise Refusal(Code.NAME_TAKEN, _complete(wanted, living))
    notes = (_autorenews(connection, wanted, row.id),) if wanted.autorenew else ()
    return _after_earlier(connection, wanted, Plan(row.id, row.name, tuple(steps), notes, spec.numnodes))


def _after_earlier(connection: Connection, wanted: OperationRequest, plan: Plan) -> Plan:
    """Tickets are asked for when nodes that still have an earlier sliver of that name have been asked to end it."""
    tickets = (Kind.NEWTICKETS, None)
    earlier = earlier_slivers(connection, wanted) if tickets in plan.steps else ()
    if not earlier:
        return plan
    return replace(plan, earlier=earlier, steps=tuple(step for step in plan.steps if step != tickets))


def _complete(wanted: OperationRequest, living: Mapping[str, SliverState]) -> str:
    name, running = wanted.slice, sum(state is SliverState.RUNNING for state in living.values())
    if running == len(living):
        return f"{name} already runs on its {running} nodes: renewslice and addkey work on it, deleteslice ends it"
    return f"{name} already has its {len(living)} tickets: svm createslice, or newleases and newvms, go on with it"


def _fit(
    connection: Connection, wanted: OperationRequest, spec: SliceSpec, row: Row[Any], living: Mapping[str, Any]
) -> None:
    """An empty slice takes the new file whole; one that holds nodes keeps its numbers and takes preferences."""
    if living and (row.numnodes, row.leaselen) != (spec.numnodes, spec.leaselen):
        raise Refusal(
            Code.BAD_INPUT,
            f"{row.name} holds {len(living)} nodes and was asked for with numnodes {row.numnodes} and leaselen"
            f" {row.leaselen}: use that file to go on, or svm deleteslice {row.name} first",
        )
    table = svm.slice_table
    connection.execute(update(table).where(table.c.id == row.id).values(_asked(wanted, spec)))
    _keep_delegations(connection, wanted, row)
    _set_autorenew(connection, wanted, row.id)


def _asked(wanted: OperationRequest, spec: SliceSpec) -> dict[str, Any]:
    named = {"ips": list(spec.ips), "agents": list(wanted.agents)}
    return {"numnodes": spec.numnodes, "leaselen": spec.leaselen, **named}


def _insert_slice(connection: Connection, wanted: OperationRequest, spec: SliceSpec) -> UUID:
    values = {"name": wanted.slice, "owner": str(wanted.owner), **_asked(wanted, spec)}
    attempt = connection.begin_nested()
    try:
        row = connection.execute(insert(svm.slice_table).values(values).returning(svm.slice_table)).one()
    except IntegrityError:  # the same name at the same time; the other came first
        attempt.rollback()
        raise Refusal(Code.BUSY, f"{wanted.slice} is being created at this moment: try again") from None
    attempt.commit()
    _keep_delegations(connection, wanted, row)
    _set_autorenew(connection, wanted, row.id)
    return row.id  # type: ignore[no-any-return]


def _newleases(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Redeem the tickets that wait, or those of the named nodes."""
    return _waiting(connection, wanted, row, Kind.NEWLEASES)


def _newvms(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Make the VMs whose leases wait, or those of the named nodes."""
    return _waiting(connection, wanted, row, Kind.NEWVMS)


def _waiting(connection: Connection, wanted: OperationRequest, row: SliceRow, kind: Kind) -> Plan:
    found = _begin(connection, wanted, row)
    nodes = list(dict.fromkeys(wanted.nodes))
    if nodes:
        _refuse_strangers(connection, found, nodes)
    else:
        # A ticket that has run out is among them, so that its node gets its line and the advice what to do.
        tickets, leases = "v.lease IS NULL AND v.state IN ('ticketed', 'expired')", "v.state = 'leased'"
        nodes = _nodes(connection, found.id, tickets if kind is Kind.NEWLEASES else leases)
    missing = "a ticket that waits for a lease" if kind is Kind.NEWLEASES else "a lease that waits for its VM"
    notes = () if nodes else (f"nothing to do: no node of {found.name} has {missing}",)
    return Plan(found.id, found.name, tuple((kind, node) for node in nodes), notes, len(nodes))


def _renewslice(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Each lease replaced by one to now + leaselen; beat names the nodes that are due."""
    found = _begin(connection, wanted, row)
    leased = "v.state IN ('leased', 'running') AND v.expires_at > now()"
    nodes = list(wanted.nodes) or _nodes(connection, found.id, leased)
    if not nodes:
        raise Refusal(Code.NOT_FOUND, f"{found.name} holds no lease to renew: svm createslice FILE makes it anew")
    over = _nodes(connection, found.id, "v.state IN ('leased', 'running', 'expired') AND v.expires_at <= now()")
    note = f"the leases of {len(over)} nodes have ended: svm createslice FILE makes their VMs anew"
    steps = tuple((Kind.RENEW, node) for node in nodes)
    return Plan(found.id, found.name, steps, (note,) if over and not wanted.nodes else (), len(nodes))


def _keys(change: Callable[[Connection, UUID, Sequence[str]], None]) -> Planner:
    """addkey, delkey, nukekeys: change the wanted set, then push the whole of it to every VM."""

    def plan(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
        found = _begin(connection, wanted, row)
        change(connection, found.id, wanted.keys)
        return _at_each_vm(connection, wanted, found, ": each gets the keys when it is made")

    return plan


def _rekey(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """A new key pair of the slice's own, for every VM; beat names those that an earlier one did not reach."""
    found = _begin(connection, wanted, row)
    if not wanted.nodes:
        want_next(connection, found.id)
    return _at_each_vm(connection, wanted, found, ": each gets the new pair when it is made")


def _simple(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Of a verb without a planner of its own."""
    return _at_each_vm(connection, wanted, _begin(connection, wanted, row))


def _at_each_vm(connection: Connection, wanted: OperationRequest, found: Row[Any], later: str = "") -> Plan:
    """The verb's first step at each VM that runs, or at the named ones. `later`: what becomes of VMs still to come."""
    kind = VERBS[wanted.verb].chain[0]
    nodes = list(wanted.nodes) or _nodes(connection, found.id, "v.state = 'running' AND v.expires_at > now()")
    notes = () if nodes else (f"{found.name} has no VM yet{later}",)
    return Plan(found.id, found.name, tuple((kind, node) for node in nodes), notes, len(nodes))


def _deleteslice(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """From this transaction on nothing but the deletion is claimed or recorded."""
    found = _own(wanted, row)
    _refuse_busy(connection, found, conflicting=(Verb.DELETESLICE,))
    _keep_delegations(connection, wanted, found)
    table = svm.slice_table
    ending = {"state": SliceState.DELETING, "autorenew": False, "heal": False}
    connection.execute(update(table).where(table.c.id == found.id).values(**ending))
    condemn(connection, found.id)
    nodes = _nodes(connection, found.id, "v.state = 'deleting'")
    earlier = earlier_slivers(connection, wanted, found)
    steps: tuple[tuple[Kind, str | None], ...] = tuple((Kind.DELETE, node) for node in nodes)
    if not steps and not earlier:
        steps = ((Kind.RELEASE, None),)
    return Plan(found.id, found.name, steps, nodes=len(nodes) + len(earlier), earlier=earlier)


def _replace(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """For heal: these nodes give way to others."""
    found = _begin(connection, wanted, row)
    _refuse_strangers(connection, found, wanted.nodes)
    steps = tuple((Kind.REPLACE, node) for node in wanted.nodes)
    return Plan(found.id, found.name, steps, (f"silent too long: {', '.join(wanted.nodes)}",), len(steps))


def _clean(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Purge the owner's slices that hold nothing valid."""
    del row
    gone = purge(connection, wanted.owner)
    return Plan(None, "", notes=tuple(f"purged {name}" for name in gone))


def _autorenew(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """autorenew on (with a standing delegation) or off."""
    found = _begin(connection, wanted, row)
    _set_autorenew(connection, wanted, found.id)
    if wanted.autorenew:
        return Plan(found.id, found.name, notes=(_autorenews(connection, wanted, found.id),))
    return Plan(found.id, found.name, notes=(wanted.note or "autorenew off",))


def _autorenews(connection: Connection, wanted: OperationRequest, slice_row: UUID) -> str:
    """Until when it really does: the standing delegation may end before the date that was asked for."""
    table = svm.slice_table
    standing = connection.execute(select(table.c.standing_until).where(table.c.id == slice_row)).scalar_one()
    if wanted.until is None or wanted.until <= standing:
        return f"autorenew on until {_stamp(wanted.until or standing)}"
    longer = f"plkeygen --renew and then svm delegate {wanted.slice} extend it to {_stamp(wanted.until)} at most"
    return f"autorenew on until {_stamp(standing)}, when your certificate ends: {longer}"


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _heal(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """heal on (with a standing delegation that covers it) or off."""
    found = _begin(connection, wanted, row)
    table = svm.slice_table
    covers = table.c.standing_heals & (table.c.standing_until > text("now()"))
    if wanted.heal and not connection.scalar(select(covers).where(table.c.id == found.id)):
        raise Refusal(
            Code.BAD_INPUT, f"heal needs a standing delegation that covers it: svm heal {found.name} on signs one"
        )
    connection.execute(update(table).where(table.c.id == found.id).values(heal=bool(wanted.heal)))
    return Plan(found.id, found.name, notes=("heal on" if wanted.heal else "heal off",))


def _delegate(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Keep a new standing delegation."""
    if wanted.standing is None:
        raise Refusal(Code.BAD_INPUT, "delegate needs a standing delegation")
    found = _begin(connection, wanted, row)
    return Plan(found.id, found.name, notes=(f"delegated until {wanted.standing.expires_at:%Y-%m-%d %H:%M:%S} UTC",))


def _undelegate(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """Forget both delegations and refuse any older one; what is under way is cancelled."""
    found = _own_open(wanted, row)
    _refuse_busy(connection, found, conflicting=(Verb.DELETESLICE,))
    table = svm.slice_table
    nothing = dict.fromkeys(("working", "working_until", "standing", "standing_until"))
    off = {"standing_heals": False, "autorenew": False, "heal": False, "refused_before": text("now()")}
    connection.execute(update(table).where(table.c.id == found.id).values(**nothing, **off))
    return Plan(found.id, found.name, notes=("delegations withdrawn; autorenew and heal are off",))


def plan(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Plan:
    """What it comes to. Raises Refusal as `lifecycle.operations.start`."""
    return _PLANNERS.get(wanted.verb, _simple)(connection, wanted, row)


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
    Verb.CLEAN: _clean,
    Verb.AUTORENEW: _autorenew,
    Verb.HEAL: _heal,
    Verb.DELEGATE: _delegate,
    Verb.UNDELEGATE: _undelegate,
}


def _own(wanted: OperationRequest, row: SliceRow) -> Row[Any]:
    if row is None:
        raise Refusal(Code.NOT_FOUND, f"no slice {wanted.slice}: svm slices lists yours, createslice makes one")
    if row.owner != str(wanted.owner):
        raise Refusal(Code.NOT_OWNER, f"{wanted.slice} is somebody else's slice: svm slices lists yours")
    return row


def _own_open(wanted: OperationRequest, row: SliceRow) -> Row[Any]:
    found = _own(wanted, row)
    if found.state != SliceState.OPEN:
        raise Refusal(Code.NOT_FOUND, f"{wanted.slice} is being deleted: svm status {wanted.slice} shows what is left")
    return found


def _begin(connection: Connection, wanted: OperationRequest, row: SliceRow) -> Row[Any]:
    """The caller's own open slice, whose delegations are kept; not while another verb excludes this one."""
    found = _own_open(wanted, row)
    if is_exclusive(wanted.verb):
        _refuse_busy(connection, found)
    _keep_delegations(connection, wanted, found)
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
            raise Refusal(Code.NOT_FOUND, f"{node} is no node of {row.name}: svm status {row.name} lists them")


def _keep_delegations(connection: Connection, wanted: OperationRequest, row: Row[Any]) -> None:
    values: dict[str, Any] = {}
    for name, given in (("working", wanted.working), ("standing", wanted.standing)):
        if given is not None:
            _refuse_withdrawn(given, row)
            values |= {name: given.token, f"{name}_until": given.expires_at}
    if wanted.standing is not None:
        values["standing_heals"] = wanted.standing.heal
    if values:
        connection.execute(update(svm.slice_table).where(svm.slice_table.c.id == row.id).values(**values))


def _refuse_withdrawn(given: Given, row: Row[Any]) -> None:
    # A delegation's times have whole seconds: one signed in the very second of the withdrawal is not older.
    if row.refused_before is not None and given.issued_at < row.refused_before.replace(microsecond=0):
        raise Refusal(Code.NOT_ALLOWED, f"that delegation of {row.name} was withdrawn (svm undelegate): sign a new one")


def _set_autorenew(connection: Connection, wanted: OperationRequest, slice_row: UUID) -> None:
    if wanted.autorenew is None:
        return
    table = svm.slice_table
    if wanted.autorenew and not connection.scalar(
        select(table.c.standing_until > text("now()")).where(table.c.id == slice_row)
    ):
        raise Refusal(
            Code.BAD_INPUT, f"autorenew needs a standing delegation: svm autorenew {wanted.slice} on signs one"
        )
    values = {"autorenew": wanted.autorenew, "autorenew_until": wanted.until if wanted.autorenew else None}
    connection.execute(update(table).where(table.c.id == slice_row).values(**values))


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
