"""The slice's own key pair, and its generations: which one is wanted, which one there is, which one each node has.

`svm rekey` and a replacement only say that a newer pair is wanted. It is made by whichever step needs it first, once,
under the slice's lock; svmd itself never sees a private key.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, select, text, update

from models.svm import slice_table
from trust.identity import Identity

Fresh = Callable[[], tuple[str, bytes]]
"""Makes a pair: (public key, sealed private key)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One generation of it."""

    generation: int
    public_key: str
    sealed_key: bytes = field(repr=False)


def want_next(connection: Connection, slice_row: UUID) -> None:
    """From now on a pair newer than any there was is wanted."""
    column = slice_table.c.pair_wanted
    connection.execute(update(slice_table).where(slice_table.c.id == slice_row).values(pair_wanted=column + 1))


def wanted_pair(connection: Connection, slice_row: UUID, fresh: Fresh) -> Pair | None:
    """The pair that is wanted, made now if it is not there yet; None when the slice is gone or deleted."""
    columns = slice_table.c
    found = select(columns.pair_wanted, columns.pair_generation, columns.public_key, columns.sealed_key)
    locked = found.where(columns.id == slice_row, columns.state != "deleted").with_for_update(key_share=True)
    row = connection.execute(locked).one_or_none()
    if row is None:
        return None
    if row.public_key is not None and row.pair_generation >= row.pair_wanted:
        return Pair(row.pair_generation, row.public_key, bytes(row.sealed_key))
    public_key, sealed_key = fresh()
    values = {"public_key": public_key, "sealed_key": sealed_key, "pair_generation": row.pair_wanted}
    connection.execute(update(slice_table).where(columns.id == slice_row).values(**values))
    return Pair(row.pair_wanted, public_key, sealed_key)


# Beat tries again now and then: what kept a node from it may last. One that is silent for good is replaced or expires.
_BEHIND = text("""
    SELECT x.name, x.owner, array_agg(v.node ORDER BY v.position) AS nodes
    FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE x.state = 'open' AND v.state = 'running' AND v.expires_at > now() AND v.pair_generation < x.pair_wanted
      AND (x.working_until > now() OR (x.standing_heals AND x.standing_until > now()))
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.verb = 'rekey'
          AND o.ended_at > now() - make_interval(secs => :again))
    GROUP BY x.id ORDER BY x.id LIMIT 100
""")


@dataclass(frozen=True, slots=True)
class Behind:
    """A slice, and its nodes that still have an older pair than is wanted."""

    name: str
    owner: Identity
    nodes: tuple[str, ...]


def behind(connection: Connection, again: int) -> list[Behind]:
    """All that svmd may do something about, but for those that a rekey ended on less than `again` seconds ago."""
    rows = connection.execute(_BEHIND, {"again": again})
    return [Behind(row.name, Identity.parse(row.owner), tuple(row.nodes)) for row in rows]
