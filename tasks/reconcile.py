"""reconcile: each node's inventory against the tables. It finishes deletions, pushes missing keys, renews leases of
which a node has lost the renewal and learns of renewals whose answer was lost; it reports orphans and missing slivers,
and deletes nothing that svmd did not make. VMs that a rekey did not reach get the slice's newest key pair. Where a
slice's owner wants it to heal, nodes that stay silent or that their operator empties are replaced, and VMs that have
ended are started."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from celery import shared_task
from sqlalchemy import Connection

from lifecycle.inventory import (
    Answer,
    Expected,
    Finding,
    ToMend,
    answered,
    as_expected,
    expected,
    heard,
    places,
    silent,
    to_heal,
    to_move,
    to_revive,
)
from lifecycle.keypair import behind
from lifecycle.looks import begin
from lifecycle.moves import MOVES
from lifecycle.operations import BEAT, OperationRequest, Plan, StepRef, Verb, open_planned, start
from lifecycle.outcome import Claim, Done
from lifecycle.record import Change
from lifecycle.transitions import learn, remove
from models.states import WITH_VM, Kind, SliverState
from nodemgr.client import HappeningReply, NodeClient, Removed, SliverReply, StoppedReply
from tasks.access import SliceAtNode, set_keys
from tasks.context import WorkerContext, transaction, worker_context
from tasks.newleases import receipt
from tasks.publish import publish
from tasks.renew import to_learn
from tasks.step import perform
from trust.errors import Code, Refusal, printable
from trust.identity import Identity, Role

log = logging.getLogger(__name__)

MOST_HAPPENINGS = 8  # of a sliver, in one answer


@shared_task(name="reconcile-all")
def reconcile_all() -> None:
    """For beat: a step for every node, unless the last round is still under way; then heal, then newer key pairs."""
    context = worker_context()
    refs, again = transaction(begin, context.identity) or [], context.policy.silent
    for found in transaction(to_heal, again):
        refs += _ask(_replacement(found, f"silent too long: {', '.join(found.nodes)}"))
    refs += _moves(again)
    for found in transaction(to_revive, again):
        refs += _ask(OperationRequest(Verb.START, found.name, found.owner, nodes=found.nodes, actor=BEAT))
    for late in transaction(behind, again):
        refs += _ask(OperationRequest(Verb.REKEY, late.name, late.owner, nodes=late.nodes, actor=BEAT))
    publish(refs)


def _moves(again: int) -> list[StepRef]:
    """Replacements of what is on nodes that their operator empties."""
    refs: list[StepRef] = []
    for found in transaction(to_move, again):
        refs += _ask(_replacement(found, f"drained ({found.why}): {', '.join(found.nodes)}", stays=True))
    return refs


def _replacement(found: ToMend, why: str, *, stays: bool = False) -> OperationRequest:
    return OperationRequest(
        Verb.REPLACE, found.name, found.owner, nodes=found.nodes, replace=True, stays=stays, actor=BEAT, note=why
    )


def _ask(request: OperationRequest) -> list[StepRef]:
    try:
        return transaction(start, request).publish
    except Refusal as refusal:
        log.info("no %s on %s now: %s", request.verb, request.slice, refusal.reason)
        return []


@shared_task(name="reconcile")
def reconcile(ids: list[int]) -> None:
    """These steps, one for each node."""
    perform(ids, reconcile_node)


@dataclass(frozen=True, slots=True)
class Differences:
    """What to do about a node.

    Args:
        delete: slivers there that are to be deleted, or were.
        gone: slices whose sliver is being deleted and is not there any more.
        push: VMs whose keys are behind or others than are wanted.
        renew: VMs whose lease is another than the table has, with the generation to renew from: the node's store was
            put back and it has forgotten one, or its answer to a renewal was lost; then it gives that lease again.
        stopped: VMs that do not run any more, with what the node says of that.
        started: VMs that run, though they were stopped.
        removed: slivers that the operator had their node remove, each with his reason.
        happened: what the node tells of slivers and the history has not.
        report: what nobody asked svmd to change.
    """

    delete: tuple[Expected, ...] = ()
    gone: tuple[UUID, ...] = ()
    push: tuple[Expected, ...] = ()
    renew: tuple[Expected, ...] = ()
    stopped: tuple[tuple[Expected, StoppedReply | None], ...] = ()
    started: tuple[Expected, ...] = ()
    removed: tuple[tuple[Expected, str], ...] = ()
    happened: tuple[tuple[Expected, tuple[HappeningReply, ...]], ...] = ()
    report: tuple[Finding, ...] = ()


@dataclass(slots=True)
class _Sorted:
    delete: list[Expected] = field(default_factory=list)
    push: list[Expected] = field(default_factory=list)
    renew: list[Expected] = field(default_factory=list)
    stopped: list[tuple[Expected, StoppedReply | None]] = field(default_factory=list)
    started: list[Expected] = field(default_factory=list)
    removed: list[tuple[Expected, str]] = field(default_factory=list)
    happened: list[tuple[Expected, tuple[HappeningReply, ...]]] = field(default_factory=list)
    report: list[Finding] = field(default_factory=list)


def compare(rows: Iterable[Expected], inventory: Sequence[SliverReply], taken: Iterable[Removed] = ()) -> Differences:
    """The node's inventory, and what the operator took from it, against the rows. Pure."""
    known = {(row.name, row.slice_id): row for row in rows}
    there = {(item.slice, item.slice_id) for item in inventory}
    reasons = {(one.slice, one.slice_id): one.reason for one in taken}
    found = _Sorted()
    for item in inventory:
        _sort(item, known.get((item.slice, item.slice_id)), found)
    for key, row in known.items():
        if key not in there and key in reasons and row.settled and row.state in MOVES["remove"].sources:
            found.removed.append((row, reasons[key]))
        elif row.state in WITH_VM and row.settled and key not in there:
            found.report.append(Finding(row.name, "missing", row.slice_id))
    gone = [row.slice for key, row in known.items() if row.state is SliverState.DELETING and key not in there]
    return Differences(
        delete=tuple(found.delete),
        gone=tuple(gone),
        push=tuple(found.push),
        renew=tuple(found.renew),
        stopped=tuple(found.stopped),
        started=tuple(found.started),
        removed=tuple(found.removed),
        happened=tuple(found.happened),
        report=tuple(found.report),
    )


def _sort(item: SliverReply, row: Expected | None, found: _Sorted) -> None:
    if row is None or (row.state is SliverState.DELETED and row.delegation is None):
        # Also when its owner's permission went with the slice: only the lease's end ends it.
        found.report.append(Finding(item.slice, "orphan", item.slice_id))
    elif row.state in (SliverState.DELETING, SliverState.DELETED):
        # A row that says deleted was svmd's own: the node has come back with an old store.
        found.delete.append(row)
    elif row.state in WITH_VM:
        _sort_vm(item, row, found)


def _sort_vm(item: SliverReply, row: Expected, found: _Sorted) -> None:
    stopped = row.state is SliverState.STOPPED
    if new := tuple(each for each in item.happened if row.heard_at is None or each.at > row.heard_at):
        found.happened.append((row, new[-MOST_HAPPENINGS:]))
    if item.has_vm or stopped:
        if _lacks_keys(item, row):
            found.push.append(row)
        if row.settled and item.generation != row.generation:
            found.renew.append(replace(row, generation=to_learn(row.generation, item.generation)))
    if not row.settled or item.has_vm is not stopped:
        return
    if item.has_vm:
        found.started.append(row)
    elif item.state == "leased":
        found.stopped.append((row, item.stopped))
    else:
        found.report.append(Finding(row.name, "missing", row.slice_id))


def _lacks_keys(item: SliverReply, row: Expected) -> bool:
    """Whether the node is behind, or has another set than is wanted: svmd's database, or its own, was put back."""
    if min(row.key_generation, item.key_generation) < row.wanted_keys:
        return True
    other = item.key_generation > row.wanted_keys if item.keys is None else item.keys != row.keys
    return row.settled and other


async def reconcile_node(claim: Claim, context: WorkerContext) -> Done:
    """One node."""
    node = claim.node or ""
    place = await context.together(places, node)
    if place is None:
        return Done()
    client = NodeClient(
        context.session,
        place.api,
        Identity(Role.NODE, place.name),
        connect_timeout=claim.connect_timeout,
        deadline=context.policy.step,
    )
    try:
        contents = await client.contents()
    except Refusal as refusal:
        await context.transaction(silent, node, refusal.code, refusal.reason)
        raise
    answer = Answer(node, place.now, tuple(item.slice_id for item in contents.slivers))
    found = compare(await context.together(expected, answer), contents.slivers, contents.removed)
    if contents.leaving or found != Differences():
        await _settle(found, printable(contents.leaving or "", 200), node, client, context)
    else:
        await context.together(as_expected, node)
    return Done()


async def _settle(found: Differences, leaving: str, node: str, client: NodeClient, context: WorkerContext) -> None:
    """Mend what differs, and write down what does; `leaving`: why the node's operator wants it empty."""
    deleted, pushed, renewed = await asyncio.gather(
        _delete(client, found.delete),
        _push(client, context, found.push, node),
        _renew(client, context, found.renew, node),
    )
    mended = [*pushed, *renewed]
    await context.transaction(answered, node, [*found.gone, *deleted], mended, found.report, leaving or None)
    for row, happened in found.happened:
        await context.transaction(found_happened, row, node, happened)
    for row, reply in found.stopped:
        await context.transaction(found_stopped, row, node, reply)
    for row in found.started:
        await context.transaction(found_running, row, node)
    for row, reason in found.removed:
        await context.transaction(removed, row, node, reason)
    if leaving:
        publish(await asyncio.to_thread(_moves, context.policy.silent))


def found_stopped(connection: Connection, row: Expected, node: str, said: StoppedReply | None) -> None:
    """Its VM does not run: the table and the slice's history say so, with what makes it run again."""
    if said is not None and said.ordered:
        moved, reason = learn(connection, (row.slice, node), "found stopped"), "its VM is stopped, as it was told to be"
    else:
        ended, since = (printable(said.reason, 200), said.since) if said else ("ended by itself", datetime.now(UTC))
        reason = f"its VM {ended}, {since:%Y-%m-%d %H:%M:%S} UTC"
        moved = learn(connection, (row.slice, node), "found stopped", (since, Code.NOT_FOUND, reason))
    if moved is not None:
        _note(connection, row, f"{node}: {reason}: svm start {row.name} {node} starts it, with its files and keys")


def found_happened(connection: Connection, row: Expected, node: str, happened: Sequence[HappeningReply]) -> None:
    """The slice's history says what happened in its VM, once."""
    heard(connection, row.slice, node, max(each.at for each in happened))
    told = [f"{node}: {printable(each.words, 200)}, {each.at:%Y-%m-%d %H:%M:%S} UTC" for each in happened]
    _note(connection, row, *told)


def found_running(connection: Connection, row: Expected, node: str) -> None:
    """Its VM runs: the answer to a start was lost, or somebody asked the node."""
    if learn(connection, (row.slice, node), "found running") is not None:
        _note(connection, row, f"{node}: its VM runs again")


def removed(connection: Connection, row: Expected, node: str, why: str) -> None:
    """The operator had it removed: the table and the slice's history say so, and why."""
    reason = f"removed by PlanetLab's operator: {why}"
    if remove(connection, (row.slice, node), Code.NOT_ALLOWED, reason) is not None:
        _note(connection, row, f"{node}: {reason}")


def _note(connection: Connection, row: Expected, *texts: str) -> None:
    """In the slice's history."""
    request = OperationRequest(Verb.RECONCILE, row.name, row.owner, actor=BEAT)
    open_planned(connection, request, Plan(row.slice, row.name, notes=texts))


async def _delete(client: NodeClient, rows: Sequence[Expected]) -> list[UUID]:
    done = []
    for row in rows:
        try:
            await client.delete(row.name, row.slice_id, row.jti, row.delegation)
            done.append(row.slice)
        except Refusal as refusal:
            if refusal.code is Code.NOT_FOUND:
                done.append(row.slice)
            else:
                log.info("%s is not deleted yet: %s", row.name, refusal.reason)
    return done


async def _push(client: NodeClient, context: WorkerContext, rows: Sequence[Expected], node: str) -> list[Change]:
    done = []
    for row in rows:
        try:
            generation = await set_keys(context, client, SliceAtNode(row.slice, row.name, row.slice_id, row.delegation))
            done.append(Change(row.slice, node, Kind.ADDKEY, key_generation=generation))
        except Refusal as refusal:
            log.info("the keys of %s are not pushed yet: %s", row.name, refusal.reason)
    return done


async def _renew(client: NodeClient, context: WorkerContext, rows: Sequence[Expected], node: str) -> list[Change]:
    """Where the owner was told of a lease that the node no longer knows, one at least as long takes its place; one
    that he was not told of is written down."""
    done = []
    for row in rows:
        try:
            reply = await client.renew(row.name, row.slice_id, row.generation, row.delegation)
            lease = receipt(reply, row, row, context)
        except Refusal as refusal:
            log.info("the lease of %s is not renewed yet: %s", row.name, refusal.reason)
        else:
            end = lease.expires_at
            done.append(Change(row.slice, node, Kind.RENEW, reply.token, lease.generation, end))
    return done
