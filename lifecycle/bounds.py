"""How many rows one owner makes in the schema `svm`: what is asked for is counted before it is written.

`tests/unit/lifecycle/test_bounds.py` lists the bounds of all tables.
"""

from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.requests import BEAT, OperationRequest
from models.states import Verb
from trust.errors import Code, Refusal

MOST_OPERATIONS = 5_000  # under way, or ended within the hour, of one owner; beat's own work apart
MOST_SLICES = 1_000  # not deleted, of one owner; plc's bound on names comes first where there are tickets
MOST_KEYS = 1_000  # of one slice, as at the nodes
CREATING = (Verb.CREATESLICE, Verb.NEWTICKETS)
TAKING_AWAY = (Verb.DELETESLICE, Verb.DELKEY, Verb.NUKEKEYS, Verb.UNDELEGATE, Verb.STOP, Verb.SHRINK)

# Each half has an index of its own.
_OPERATIONS = text("""
    SELECT count(*) FROM svm.operation
    WHERE (ended_at IS NULL OR ended_at > now() - interval '1 hour') AND owner = :owner AND actor <> 'beat'
""")
_SLICES = text("SELECT count(*) FROM svm.slice WHERE owner = :owner AND state <> 'deleted' AND name <> :name")
_KEYS = text("SELECT count(*) FROM svm.slice_key WHERE slice = :slice")


def require_room(connection: Connection, request: OperationRequest) -> None:
    """Raises Refusal(OVER_CAPACITY) when the owner asked for more than anybody needs.

    Beat's own work always goes on, and so does what only takes away.
    """
    if request.actor == BEAT or request.verb in TAKING_AWAY:
        return
    owner = {"owner": str(request.owner)}
    if (connection.scalar(_OPERATIONS, owner) or 0) >= MOST_OPERATIONS:
        raise Refusal(Code.OVER_CAPACITY, f"{MOST_OPERATIONS} commands within an hour are the limit; wait a while")
    if request.verb in CREATING and (connection.scalar(_SLICES, {**owner, "name": request.slice}) or 0) >= MOST_SLICES:
        raise Refusal(Code.OVER_CAPACITY, f"you have {MOST_SLICES} slices, the limit; delete some with svm deleteslice")


def require_room_for_keys(connection: Connection, slice_row: UUID) -> None:
    """After they were written. Raises Refusal(OVER_CAPACITY), which undoes it."""
    if (connection.scalar(_KEYS, {"slice": slice_row}) or 0) > MOST_KEYS:
        raise Refusal(Code.OVER_CAPACITY, f"a slice has at most {MOST_KEYS} keys; remove some with svm delkey first")
