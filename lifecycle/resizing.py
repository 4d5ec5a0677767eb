"""A slice that is there, asked for with other numbers: it grows, gives nodes back, or has leases of another length."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, update

from lifecycle.keypair import want_next
from lifecycle.requests import OperationRequest, SliceSpec
from lifecycle.transitions import condemn
from models.states import LEASED, LIVE, WITH_VM, Kind, SliverState
from models.svm import slice_table
from trust.errors import Code, Refusal

Steps = tuple[tuple[Kind, str | None], ...]
LISTED = 8  # nodes that a note names


def surplus(living: Mapping[str, SliverState], spec: SliceSpec) -> list[str]:
    """The nodes that a smaller slice gives back: first those that the file does not name, then those that are least far
    (a ticket, a lease, a VM that is stopped), then those that came last. `living`: in order of allocation. Pure."""
    place = {node: at for at, node in enumerate(living)}
    worth = {node: (node in spec.ips, LIVE.index(_rank(state)), -place[node]) for node, state in living.items()}
    return sorted(living, key=worth.__getitem__)[: max(len(living) - spec.numnodes, 0)]


def _rank(state: SliverState) -> SliverState:
    """A VM that is stopped is less than one that runs."""
    swapped = {SliverState.STOPPED: SliverState.RUNNING, SliverState.RUNNING: SliverState.STOPPED}
    return swapped.get(state, state)


def give_back(connection: Connection, slice_row: UUID, nodes: Sequence[str]) -> Steps:
    """These slivers end. A node that had the slice's key pair must not open the others: a new one is wanted."""
    before = condemn(connection, slice_row, nodes)
    if set(before.values()) & set(LEASED):
        want_next(connection, slice_row)
    return tuple((Kind.DELETE, node) for node in nodes if node in before)


def lengthen(connection: Connection, row: Row[Any], spec: SliceSpec, living: Mapping[str, SliverState]) -> Steps:
    """Each VM's lease is renewed at once with its new length; whatever is not reached learns of it when it is renewed
    next, and a shorter length counts from when the lease that is there would end earlier."""
    if row.leaselen == spec.leaselen or not living:
        return ()
    connection.execute(update(slice_table).where(slice_table.c.id == row.id).values(leaselen_changed=True))
    return tuple((Kind.RENEW, node) for node, state in living.items() if state in WITH_VM)


def shrink(connection: Connection, request: OperationRequest, row: Row[Any]) -> Steps:
    """`svm shrink`: these nodes, of the slice's own, are given back, and it wants so many fewer."""
    nodes = list(dict.fromkeys(request.nodes))
    left = row.numnodes - len(nodes)
    if left < 1:
        raise Refusal(Code.BAD_INPUT, f"that would leave {row.name} without a node: svm deleteslice {row.name} ends it")
    connection.execute(update(slice_table).where(slice_table.c.id == row.id).values(numnodes=left))
    return give_back(connection, row.id, nodes)


def told(nodes: Sequence[str]) -> tuple[str, ...]:
    """That nodes are given back, for the history."""
    if not nodes:
        return ()
    more = f" and {len(nodes) - LISTED} more" if len(nodes) > LISTED else ""
    return (f"given back: {', '.join(nodes[:LISTED])}{more}",)
