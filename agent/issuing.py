"""The agent itself: from a request that is authorised to signed tickets, and names given back to plc."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Engine

from agent import tickets
from agent.client import Ad, Promise, Tickets, tickets_to_json
from agent.metrics import TICKETS
from agent.places import Bounds, Demand, choose_now, stored
from agent.tickets import Reserved, TicketRequest
from rpc.credentials import Credentials
from trust.documents import TICKET_LIFETIME, Ticket, sign_ticket
from trust.identity import Identity
from trust.store import TrustStore


class Registrar(Protocol):
    """The part of `plc.client.Plc` that keeps slice names."""

    def register_slice(self, name: str, owner: Identity, delegation: str) -> UUID: ...

    def release_slice(self, name: str, slice_id: UUID, held_until: datetime | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Agent:
    """What one agent works with.

    Args:
        credentials: its key and certificate, read again for each request, so that a renewal is seen.
        store: whom it trusts, and its clock.
        engine: the database with the schema `agent`.
        registrar: plc.
        bounds: what one owner may have.
    """

    identity: Identity
    credentials: Credentials
    store: TrustStore
    engine: Engine
    registrar: Registrar
    bounds: Bounds

    def now(self) -> datetime:
        return self.store.clock.now()

    def grant(self, wanted: TicketRequest, delegation: str) -> str:
        """The answer of `POST /tickets`, JSON: the same one for the same Idempotency-Key.

        `delegation`: what the owner signed for this slice, for plc.

        Raises Refusal as `agent.tickets.reserve` and `plc.client.Plc.register_slice`; nothing is held then.
        """
        with self.engine.begin() as connection:
            reserved = tickets.reserve(connection, wanted, self.now(), self.bounds)
        if not isinstance(reserved, Reserved):
            return reserved
        slice_id = None
        try:
            slice_id = self.registrar.register_slice(wanted.demand.slice, wanted.demand.owner, delegation)
            return self._issue(wanted, reserved, slice_id)
        except BaseException:
            # What cannot be undone now (the database is gone) ends by itself after RESERVATION seconds.
            with suppress(Exception):
                self._undo(wanted, reserved, slice_id)
            raise

    def plan(self, demand: Demand) -> tuple[Ad, ...]:
        """The nodes that `grant` would take now; nothing is held. Raises Refusal as `agent.places.allocate`."""
        with self.engine.connect() as connection:
            return stored(connection, choose_now(connection, demand, self.bounds, self.now()))

    def release(self, name: str, slice_id: UUID, held_until: datetime | None) -> None:
        """Give a slice's name back; the caller is authorised. Idempotent."""
        self.registrar.release_slice(name, slice_id, held_until)
        with self.engine.begin() as connection:
            tickets.forget(connection, slice_id)

    def _undo(self, wanted: TicketRequest, reserved: Reserved, slice_id: UUID | None) -> None:
        """A refused request takes nothing: neither nodes nor, if it is this agent's first of that slice, the name."""
        with self.engine.begin() as connection:
            unanswered = tickets.cancel(connection, reserved.request_id)
            known = slice_id is not None and tickets.registered(connection, slice_id) is not None
        if unanswered and slice_id is not None and not known:
            self.registrar.release_slice(wanted.demand.slice, slice_id)

    def purge(self) -> None:
        """Drop what nobody can ask for any more."""
        with self.engine.begin() as connection:
            tickets.purge(connection, self.now())

    def _issue(self, wanted: TicketRequest, reserved: Reserved, slice_id: UUID) -> str:
        now = self.now().replace(microsecond=0)
        certificate = self.credentials.certificate
        # A ticket never outlives the certificate that it is checked by.
        end = min(now + timedelta(seconds=TICKET_LIFETIME), certificate.not_valid_after_utc)
        response = tickets_to_json(self._sign(wanted, reserved, slice_id, now, end))
        with self.engine.begin() as connection:
            tickets.remember(connection, slice_id, wanted.demand.slice, wanted.demand.owner, now)
            answer = tickets.issue(connection, reserved, slice_id, response, now, end)
        if answer is response:
            TICKETS.labels("issued").inc(len(reserved.places))
        return answer

    def _sign(self, wanted: TicketRequest, reserved: Reserved, slice_id: UUID, now: datetime, end: datetime) -> Tickets:
        key, certificate = self.credentials.key, self.credentials.certificate
        promises = []
        for jti, found in reserved.places:
            ticket = Ticket(
                issuer=self.identity,
                node=found.identity,
                owner=wanted.demand.owner,
                slice=wanted.demand.slice,
                slice_id=slice_id,
                jti=jti,
                leaselen=wanted.leaselen,
                issued_at=now,
                expires_at=end,
                needs=reserved.needs,
            )
            token = sign_ticket(ticket, key, certificate)
            promises.append(Promise(found.node, found.address, found.api, found.frontdoor, jti, token, end))
        return Tickets(slice_id, self.identity.name, tuple(promises), reserved.needs.digest)


def digest(body: Mapping[str, Any]) -> bytes:
    """SHA-256 of a request's body, independent of the order of its members."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
