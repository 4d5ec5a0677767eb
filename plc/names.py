"""The registry of slice names: one owner for a name, whichever agents issue its tickets (docs/protocol.md, "Names")."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from models.plc import slice_agent, slice_name
from plc.accounts import Account
from trust.documents import MAX_LEASELEN
from trust.errors import Code, Refusal
from trust.names import check_slice_name

# A lease's longest life and a day for the grace after it: no agent may hold a name back for longer.
LONGEST_HOLD = MAX_LEASELEN + 86_400
NAMES_PER_HOUR = 10  # times as many as an owner may hold: each one is a row for a day


def register(connection: Connection, name: str, owner: Account, agent: str, cap: int, now: datetime) -> UUID:
    """Take the name for its owner; idempotent while registered. A free, or own held, name gets a new slice id.

    ``owner`` was loaded with its lock, or two registrations at once would both be the last one allowed.

    Raises Refusal: BAD_INPUT (no slice name), NAME_TAKEN, OVER_CAPACITY (``cap`` names are the owner's already).
    """
    check_slice_name(name)
    slice_id = _registered(connection, name, owner)
    if slice_id is None:
        _require_room(connection, owner, cap, now)
        slice_id = _take(connection, name, owner, now)
    holds = insert(slice_agent).values(slice_id=slice_id, agent=agent, released_at=None)
    again = {"released_at": None}
    connection.execute(
        holds.on_conflict_do_update(index_elements=[slice_agent.c.slice_id, slice_agent.c.agent], set_=again)
    )
    return slice_id


def release(
    connection: Connection, name: str, slice_id: UUID, agent: str, held_until: datetime | None, now: datetime
) -> None:
    """One agent gives the name back; with the last one it is free, from ``held_until`` on for everybody.

    Idempotent, also after the name went on to another slice. Raises Refusal: NOT_OWNER for an agent that never had
    it, BAD_INPUT for a hold that is longer than any lease.
    """
    if held_until is not None and held_until > now + timedelta(seconds=LONGEST_HOLD):
        raise Refusal(Code.BAD_INPUT, "held_until is further away than any lease can end; correct it")
    registered = (slice_name.c.name == name) & (slice_name.c.slice_id == slice_id)
    found = connection.execute(select(slice_name).where(registered).with_for_update()).one_or_none()
    if found is None:
        return
    mine = (slice_agent.c.slice_id == slice_id) & (slice_agent.c.agent == agent)
    held = update(slice_agent).where(mine)
    if not connection.execute(held.values(released_at=func.coalesce(slice_agent.c.released_at, now))).rowcount:
        raise Refusal(Code.NOT_OWNER, f"agent {agent} did not register {name}")
    others = select(slice_agent.c.agent).where(slice_agent.c.slice_id == slice_id, slice_agent.c.released_at.is_(None))
    last = connection.execute(others.limit(1)).one_or_none() is None
    connection.execute(
        update(slice_name)
        .where(registered)
        .values(
            held_until=func.greatest(slice_name.c.held_until, held_until),  # the latest possible end on any node
            released_at=func.coalesce(slice_name.c.released_at, now) if last else None,
        )
    )


def names_of(connection: Connection, owner: Account) -> Sequence[str]:
    """The slices that an account has registered at this moment."""
    mine = (slice_name.c.account_id == owner.id) & slice_name.c.released_at.is_(None)
    return connection.scalars(select(slice_name.c.name).where(mine).order_by(slice_name.c.name)).all()


def _registered(connection: Connection, name: str, owner: Account) -> UUID | None:
    live = (slice_name.c.name == name) & (slice_name.c.account_id == owner.id) & slice_name.c.released_at.is_(None)
    return connection.scalar(select(slice_name.c.slice_id).where(live).with_for_update())


def _take(connection: Connection, name: str, owner: Account, now: datetime) -> UUID:
    free = slice_name.c.released_at.is_not(None) & or_(
        slice_name.c.held_until.is_(None), slice_name.c.held_until <= now, slice_name.c.account_id == owner.id
    )
    wanted = {
        "slice_id": uuid4(),
        "account_id": owner.id,
        "registered_at": now,
        "released_at": None,
        "held_until": None,
    }
    taken = insert(slice_name).values(name=name, **wanted)
    slice_id: UUID | None = connection.scalar(
        taken.on_conflict_do_update(index_elements=[slice_name.c.name], set_=wanted, where=free).returning(
            slice_name.c.slice_id
        )
    )
    if slice_id is None:
        raise Refusal(Code.NAME_TAKEN, f"the slice name {name} is taken; choose another")
    connection.execute(delete(slice_agent).where(slice_agent.c.slice_id == slice_id))  # of the name's earlier slice
    return slice_id


def _require_room(connection: Connection, owner: Account, cap: int, now: datetime) -> None:
    occupied = or_(slice_name.c.released_at.is_(None), slice_name.c.held_until > now)
    held = connection.scalar(select(func.count()).where(slice_name.c.account_id == owner.id, occupied)) or 0
    lately = slice_name.c.registered_at > now - timedelta(hours=1)
    taken = connection.scalar(select(func.count()).where(slice_name.c.account_id == owner.id, lately)) or 0
    if taken >= NAMES_PER_HOUR * cap:
        raise Refusal(Code.OVER_CAPACITY, f"{owner.email} took {taken} slice names within an hour; try later")
    if held >= cap:
        raise Refusal(
            Code.OVER_CAPACITY, f"{owner.email} holds {held} slice names, the most allowed; delete a slice first"
        )
