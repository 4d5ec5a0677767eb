"""Reserving, issuing and returning tickets: functions over `models/agent.py`, each inside its caller's transaction.

A request for tickets is all or nothing and runs in two transactions around the call that registers the name at plc:

    reserve   under locks: is there an answer already, are there enough nodes, is the owner within bounds; then the rows
    (plc)     a refused request never gets here, so it registers nothing
    issue     the rows become tickets and the answer is kept for the request's Idempotency-Key

An agent that dies in between leaves reservations that end by themselves after `RESERVATION` seconds, or that the same
request, asked again, takes up where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, Text, cast, delete, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from agent.ads import from_row
from agent.client import Ad
from agent.places import Bounds, Demand, allocate
from agent.recordset import recordset
from models.agent import ad, registration, request, ticket
from trust.documents import TICKET_LIFETIME
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.needs import NOTHING, Needs

RESERVATION = 120  # seconds; more than the call to plc may take
KEPT = TICKET_LIFETIME + RESERVATION  # seconds that an answer is kept for its Idempotency-Key
HEARD_DAYS = 90  # that it is known when a node was heard of last
TICKETS = "POST /tickets"


@dataclass(frozen=True, slots=True)
class TicketRequest:
    """One request for tickets, checked and authorised.

    Args:
        caller: who asks: the owner or a service manager.
        key: the Idempotency-Key; `digest` is the SHA-256 of what was asked under it.
        leaselen: seconds that each lease is to last.
    """

    caller: Identity
    key: str
    digest: bytes
    demand: Demand
    leaselen: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """Nodes that are held for this request: (jti, advertisement) in the order of allocation.

    `needs`: with the digest of the image, the same for all.
    """

    request_id: int
    places: tuple[tuple[str, Ad], ...]
    needs: Needs = NOTHING


def reserve(connection: Connection, wanted: TicketRequest, now: datetime, bounds: Bounds) -> Reserved | str:
    """Hold nodes for this request, or the answer (JSON) that it got before.

    Raises:
        Refusal: as `agent.places.allocate`, BAD_INPUT (the key was used for something else).
    """
    # One owner's requests follow one another, so that neither a bound nor one Idempotency-Key is passed twice.
    owner = wanted.demand.owner.uri
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 0))"), {"owner": owner})
    known = _known(connection, wanted, now)
    if known is not None and known.response is not None:
        return str(known.response)
    if known is not None:
        taken_up = _taken_up(connection, known.id, wanted.demand.numnodes, now)
        if taken_up is not None:
            return taken_up
        cancel(connection, known.id)
    return _hold(connection, wanted, allocate(connection, wanted.demand, bounds, now), now)


def issue(
    connection: Connection,
    reserved: Reserved,
    slice_id: UUID,
    response: str,
    now: datetime,
    end: datetime,
) -> str:
    """Turn a reservation into tickets that end at `end`; the answer to give, which is another's if that came first.

    `response`: JSON, of which a thousand tickets make a megabyte: written once, for the caller and for the database.

    Raises:
        Refusal: TIMEOUT when the reservation lapsed meanwhile; nothing is issued and the request may be repeated.
    """
    this = request.c.id == reserved.request_id
    row = connection.execute(
        select(cast(request.c.response, Text).label("response")).where(this).with_for_update()
    ).one_or_none()
    if row is not None and row.response is not None:
        return str(row.response)
    held = (ticket.c.request_id == reserved.request_id, ticket.c.state == "reserved", ticket.c.expires_at > now)
    issued = connection.execute(
        update(ticket).where(*held).values(state="issued", slice_id=slice_id, made_at=now, expires_at=end)
    )
    if issued.rowcount != len(reserved.places):
        raise Refusal(Code.TIMEOUT, "plc took too long to register the slice's name; try again")
    connection.execute(update(request).where(this).values(response=cast(literal(response), JSONB)))
    return response


def cancel(connection: Connection, request_id: int) -> bool:
    """Let go of what a request that was refused, or lapsed, has reserved; False for an answered one, which stays."""
    answered = select(request.c.id).where(request.c.id == request_id, request.c.response.is_not(None))
    if connection.execute(answered.with_for_update()).one_or_none() is not None:
        return False
    connection.execute(delete(ticket).where(ticket.c.request_id == request_id, ticket.c.state == "reserved"))
    connection.execute(delete(request).where(request.c.id == request_id))
    return True


def find(connection: Connection, jti: str) -> Row[*tuple[Any, ...]] | None:
    """The ticket with that id, whatever became of it."""
    return connection.execute(select(ticket).where(ticket.c.jti == jti)).one_or_none()


def give_back(connection: Connection, jti: str) -> bool:
    """An unused ticket is not going to be used; whether it was unused.

    Its node would still take it: its place is free once the node, told so in the answer to its next advertisement, has
    burnt it. The answer that it was part of is void: its key asks anew.
    """
    # The request first: dropping it touches its other tickets, which others may be giving back at this moment.
    its_request = select(ticket.c.request_id).where(ticket.c.jti == jti).scalar_subquery()
    connection.execute(select(request.c.id).where(request.c.id == its_request).with_for_update())
    unused = (ticket.c.jti == jti, ticket.c.state == "issued")
    returned = update(ticket).where(*unused).values(state="returned").returning(ticket.c.request_id)
    request_id = connection.scalar(returned)
    if request_id is not None:
        connection.execute(delete(request).where(request.c.id == request_id))
    return request_id is not None


def remember(connection: Connection, slice_id: UUID, slice: str, owner: Identity, now: datetime) -> None:
    """Note whose slice that is, as plc registered it, so that its release can be authorised."""
    values = {"slice_id": slice_id, "slice": slice, "owner": owner.uri, "registered_at": now}
    connection.execute(insert_or_skip(registration).values(values).on_conflict_do_nothing())


def registered(connection: Connection, slice_id: UUID) -> Row[*tuple[Any, ...]] | None:
    """The registration that went through this agent, None when it was released or is another agent's."""
    return connection.execute(select(registration).where(registration.c.slice_id == slice_id)).one_or_none()


def forget(connection: Connection, slice_id: UUID) -> None:
    """The name is plc's again. Its open tickets stay counted until they end: nodes would still take them."""
    connection.execute(delete(registration).where(registration.c.slice_id == slice_id))


def purge(connection: Connection, now: datetime) -> None:
    """Drop what nobody can ask for any more."""
    connection.execute(delete(ticket).where(ticket.c.expires_at < now - timedelta(seconds=RESERVATION)))
    connection.execute(delete(request).where(request.c.made_at < now - timedelta(seconds=KEPT)))
    connection.execute(delete(ad).where(ad.c.expires_at < now - timedelta(days=HEARD_DAYS)))


def _known(connection: Connection, wanted: TicketRequest, now: datetime) -> Row[*tuple[Any, ...]] | None:
    """The request with that key, unless its tickets have run out: then it is forgotten, and asked anew."""
    mine = (request.c.caller == wanted.caller.uri, request.c.owner == wanted.demand.owner.uri)
    this = (request.c.route == TICKETS, request.c.key == wanted.key)
    columns = (request.c.id, request.c.digest, request.c.made_at, cast(request.c.response, Text).label("response"))
    row = connection.execute(select(*columns).where(*mine, *this).with_for_update()).one_or_none()
    if row is not None and bytes(row.digest) != wanted.digest:
        raise Refusal(Code.BAD_INPUT, "this Idempotency-Key was used for another request; choose a new one")
    if row is not None and row.response is not None and row.made_at <= now - timedelta(seconds=TICKET_LIFETIME):
        connection.execute(delete(request).where(request.c.id == row.id))
        return None
    return row


def _taken_up(connection: Connection, request_id: int, numnodes: int, now: datetime) -> Reserved | None:
    held = (ticket.c.request_id == request_id, ticket.c.state == "reserved", ticket.c.expires_at > now)
    joined = select(ticket.c.jti, ticket.c.needs, ad).join(ad, ad.c.node == ticket.c.node).where(*held)
    rows = connection.execute(joined.order_by(ticket.c.position)).all()
    if len(rows) != numnodes:
        return None
    return Reserved(request_id, tuple((row.jti, from_row(row)) for row in rows), Needs.from_json(rows[0].needs))


def _hold(connection: Connection, wanted: TicketRequest, chosen: Sequence[Ad], now: datetime) -> Reserved:
    asked = {
        "caller": wanted.caller.uri,
        "owner": wanted.demand.owner.uri,
        "route": TICKETS,
        "key": wanted.key,
        "digest": wanted.digest,
        "made_at": now,
    }
    request_id = connection.execute(insert(request).values(asked).returning(request.c.id)).scalar_one()
    places, asked_for = tuple((str(uuid4()), found) for found in chosen), wanted.demand.needs
    needs = asked_for.of_digest(chosen[0].digest(asked_for))
    rows = [{"jti": jti, "position": number, "node": found.node} for number, (jti, found) in enumerate(places)]
    same = {
        "request_id": request_id,
        "owner": wanted.demand.owner.uri,
        "slice": wanted.demand.slice,
        "leaselen": wanted.leaselen,
        "state": "reserved",
        "made_at": now,
        "expires_at": now + timedelta(seconds=RESERVATION),
        "needs": needs.to_json(),
    }
    given = recordset(rows, ticket.c.jti, ticket.c.position, ticket.c.node)
    source = select(*given.c, *(literal(value, ticket.c[name].type) for name, value in same.items()))
    connection.execute(insert(ticket).from_select([*given.c.keys(), *same], source))
    return Reserved(request_id, places, needs)
