"""Nodes that give way to others: one that failed or fell silent at once, one that its operator empties when its
successor runs.

A replace step takes a ticket on another node (`tasks/replace.py`). The sliver of the old one ends with that; where
the operation says that it `stays`, it ends in the transaction that records its successor's VM, and the successor's row
names it until then (`replaces`). A successor that fails gives way itself; the next takes over what it was to replace.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.keypair import want_next
from lifecycle.outcome import Claim, Moved
from lifecycle.transitions import condemn
from models.states import LEASED, LIVE, Kind, SliverState

_REPLACES = text("SELECT replaces FROM svm.sliver WHERE slice = :slice AND node = :node")
_NAME = text("""
    UPDATE svm.sliver SET replaces = :old WHERE (slice, node) IN (
        SELECT slice, node FROM svm.sliver WHERE slice = :slice AND node = ANY(:nodes) ORDER BY node FOR UPDATE)
""")
_SUCCESSORS = text("""
    SELECT v.node, v.state, v.replaces FROM svm.sliver v
    WHERE v.slice = :slice AND v.replaces = ANY(:nodes) AND v.state = ANY(:living) AND v.expires_at > now()
    ORDER BY v.position
""")

_GOES_ON = {SliverState.TICKETED: Kind.NEWLEASES, SliverState.LEASED: Kind.NEWVMS}


def steps(connection: Connection, slice_row: UUID, nodes: Sequence[str]) -> tuple[tuple[Kind, str], ...]:
    """What finds successors of these nodes, or goes on with those that were found and do not run yet."""
    bound = {"slice": slice_row, "nodes": list(nodes), "living": list(LIVE)}
    found = {row.replaces: (SliverState(row.state), row.node) for row in connection.execute(_SUCCESSORS, bound)}
    planned = []
    for node in nodes:
        state, successor = found.get(node, (None, None))
        if successor is None:
            planned.append((Kind.REPLACE, node))
        elif state in _GOES_ON and successor not in nodes:
            planned.append((_GOES_ON[state], successor))
    return tuple(planned)


def give_way(
    connection: Connection, slice_row: UUID, node: str, successors: Sequence[str], *, stays: bool = False
) -> None:
    """These have tickets now, in the place of `node`; its sliver ends, unless it `stays` until one of them runs."""
    key = {"slice": slice_row, "node": node}
    old = connection.scalar(_REPLACES, key)
    if old is None and stays:
        old = node
    else:
        _end(connection, slice_row, node)
    if old is not None:
        connection.execute(_NAME, {"slice": slice_row, "nodes": list(successors), "old": old})


def arrived(connection: Connection, moved: Iterable[tuple[Claim, Moved | None]]) -> None:
    """Where the VM of a successor runs now, the sliver that it replaces ends. The caller holds the slices' locks."""
    for claim, states in moved:
        sliver, slice_ = claim.sliver, claim.slice
        if sliver is None or slice_ is None or sliver.replaces is None or states is None:
            continue
        if states[1] is SliverState.RUNNING:
            connection.execute(_NAME, {"slice": slice_.id, "nodes": [sliver.node], "old": None})
            _end(connection, slice_.id, sliver.replaces)


def _end(connection: Connection, slice_row: UUID, node: str) -> None:
    """A node that may have had the slice's key pair must not open the others."""
    if condemn(connection, slice_row, [node]).get(node) in LEASED:
        want_next(connection, slice_row)
