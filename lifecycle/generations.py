"""Generations of key sets and key pairs that a node has and the table does not know: the database came from a dump.

A node refuses what is older than it has, so what is wanted gets a number above both and is pushed again.
"""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, text

from trust.errors import Code, Refusal

MOST_AHEAD = 10_000  # what a dump can have missed; a node that claims more would soon use up all numbers there are


class Counted(StrEnum):
    """What is counted, by the slice's column that says which generation is wanted."""

    KEYS = "key_generation"
    PAIR = "pair_wanted"


# Not where a newer one is wanted by now: that one is pushed next.
_OUTGROW = {
    counted: text(f"""
        UPDATE svm.slice SET {counted} = greatest({counted}, :there) + 1
        WHERE id = :slice AND state = 'open' AND {counted} <= :known
    """)  # noqa: S608 - made of constants of this file
    for counted in Counted
}


def outgrow(connection: Connection, slice_row: UUID, counted: Counted, known: int, there: int) -> None:
    """A node has generation `there` where `known` was the table's: what is wanted becomes later than both.

    Raises Refusal(STALE_GENERATION) when the node is further ahead than can be.
    """
    if there - known > MOST_AHEAD:
        raise Refusal(
            Code.STALE_GENERATION,
            f"the node counts {there - known} more changes of keys than svmd knows of: tell the node's operator",
        )
    connection.execute(_OUTGROW[counted], {"slice": slice_row, "known": known, "there": there})
