"""The wanted SSH keys of a slice. Every change gives the whole set a new generation, which nodes compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from lifecycle.bounds import require_room_for_keys
from models import svm
from models.states import WITH_VM
from trust.errors import Code, Refusal
from trust.sshkeys import parse_public_key


@dataclass(frozen=True, slots=True)
class KeySet:
    """One generation of a slice's keys, a line each."""

    generation: int
    lines: tuple[str, ...]


def add_keys(connection: Connection, slice_row: UUID, lines: Sequence[str]) -> None:
    """Add them; those that are there already stay. Pushing again is how a partial failure is mended."""
    if not lines:
        raise Refusal(Code.BAD_INPUT, "addkey needs a public key")
    keys = [parse_public_key(line) for line in lines]
    rows = [{"slice": slice_row, "fingerprint": key.fingerprint, "line": key.line} for key in keys]
    added = insert(svm.slice_key).values(rows).on_conflict_do_nothing().returning(svm.slice_key.c.fingerprint)
    if connection.execute(added).all():
        require_room_for_keys(connection, slice_row)
        _next_generation(connection, slice_row)


def remove_keys(connection: Connection, slice_row: UUID, lines: Sequence[str]) -> None:
    """Remove them. A key that is not there is refused, unless a node still waits for an earlier removal."""
    if not lines:
        raise Refusal(Code.BAD_INPUT, "delkey needs a public key")
    fingerprints = [parse_public_key(line).fingerprint for line in lines]
    table = svm.slice_key
    gone = delete(table).where(table.c.slice == slice_row, table.c.fingerprint.in_(fingerprints))
    if connection.execute(gone.returning(table.c.fingerprint)).all():
        _next_generation(connection, slice_row)
    elif not _behind(connection, slice_row):
        raise Refusal(Code.NOT_FOUND, "that key is not among the slice's keys: svm status shows them")


def remove_all_keys(connection: Connection, slice_row: UUID, lines: Sequence[str]) -> None:
    """Remove every key."""
    del lines
    table = svm.slice_key
    if connection.execute(delete(table).where(table.c.slice == slice_row).returning(table.c.fingerprint)).all():
        _next_generation(connection, slice_row)


def wanted_keys(connection: Connection, slice_row: UUID) -> KeySet:
    """The set as it is wanted now, and its generation, in one look."""
    table = svm.slice_table
    # The row lock keeps a change from coming between the two.
    generation = connection.scalar(
        select(table.c.key_generation).where(table.c.id == slice_row).with_for_update(read=True)
    )
    keys = select(svm.slice_key.c.line).where(svm.slice_key.c.slice == slice_row)
    lines = connection.scalars(keys.order_by(svm.slice_key.c.added_at, svm.slice_key.c.fingerprint))
    return KeySet(int(generation or 0), tuple(lines))


def _behind(connection: Connection, slice_row: UUID) -> bool:
    sliver, owner = svm.sliver.c, svm.slice_table.c
    late = select(sliver.node).join(svm.slice_table, owner.id == sliver.slice)
    late = late.where(
        sliver.slice == slice_row, sliver.state.in_(WITH_VM), sliver.key_generation < owner.key_generation
    )
    return connection.execute(late.limit(1)).first() is not None


def _next_generation(connection: Connection, slice_row: UUID) -> None:
    table = svm.slice_table
    bump = update(table).where(table.c.id == slice_row).values(key_generation=table.c.key_generation + 1)
    connection.execute(bump)
