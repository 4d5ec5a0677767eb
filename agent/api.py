"""The agent's calls (docs/protocol.md, "Calls"): advertisements in, tickets out.

Endpoints are plain functions, each in a thread of the server's pool: their database and plc's client are synchronous.
"""

from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, Header, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainValidator
from starlette.routing import Route

from agent import tickets
from agent.board import Board
from agent.client import ad_to_json
from agent.intake import MAX_COUNT, MAX_LISTED, Address, Intake
from agent.issuing import Agent, digest
from agent.metrics import TICKETS
from agent.nodes import add_nodes
from agent.places import Demand
from agent.tickets import TicketRequest
from agent.writer import Writer
from models.outage import database, say_when_away
from rpc.guard import Guarded
from rpc.health import Health, own
from rpc.server import Guard, application, healthy
from trust.authorize import Action, authorize
from trust.documents import MAX_LEASELEN, Delegation, verify_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import MAX_TOKEN
from trust.names import check_slice_name
from trust.needs import NOTHING, Needs, needed
from trust.peers import Peer

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[!-~]{1,128}$")]
DelegationHeader = Annotated[str | None, Header(alias="Dslice-Delegation", max_length=MAX_TOKEN)]


class DemandBody(BaseModel):
    """Which nodes a slice wants."""

    model_config = ConfigDict(strict=True, extra="forbid")
    slice: str
    numnodes: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    ips: Annotated[list[Address], Field(max_length=MAX_LISTED)] = []
    exclude: Annotated[list[Address], Field(max_length=MAX_LISTED)] = []
    needs: Annotated[Needs, PlainValidator(needed)] | None = None

    def demand(self, owner: Identity) -> Demand:
        """With its name checked. Raises Refusal(BAD_INPUT)."""
        name = check_slice_name(self.slice)
        return Demand(owner, name, self.numnodes, tuple(self.ips), tuple(self.exclude), self.needs or NOTHING)

    def asked(self) -> dict[str, Any]:
        """For its digest, which is as before needs could be said where none are."""
        needs = {"needs": self.needs.to_json()} if self.needs else {}
        return self.model_dump(exclude={"needs"}) | needs


class TicketsBody(DemandBody):
    """`POST /tickets`."""

    leaselen: Annotated[int, Field(ge=1, le=MAX_LEASELEN)]


class PlanBody(DemandBody):
    """`POST /plans`."""

    owner: Annotated[str, Field(max_length=300)]


class ReleaseBody(BaseModel):
    """`DELETE /slices/{name}`."""

    model_config = ConfigDict(extra="forbid")
    slice_id: UUID
    held_until: AwareDatetime | None = None


def create_app(agent: Agent) -> FastAPI:
    """The agent's server application."""
    app = application("dslice agent")
    say_when_away(app, "the agent")
    guard = Guard(agent.store)
    _add_ads(app, agent, guard)
    _add_tickets(app, agent, guard)
    _add_slices(app, agent, guard)
    add_nodes(app, agent, guard)

    healthy(app, health_of(agent))
    return app


def health_of(agent: Agent) -> Health:
    """Whether it can issue tickets."""
    return Health(database=database(agent.engine), **own(agent.credentials, agent.store))


def _add_ads(app: FastAPI, agent: Agent, guard: Guard) -> None:
    readers = Depends(guard.role(Role.USER, Role.SVM, Role.NODE))
    writer = Writer(agent.engine, agent.store.clock)
    board = Board(agent.engine, agent.store.clock, writer)
    intake = Guarded("/ads/{node}", guard.role(Role.NODE), Intake(agent.store.clock, writer))
    app.router.routes.append(Route(intake.path, intake, methods=["PUT"]))

    @app.get("/ads", dependencies=[readers])
    async def get_ads(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        content, tag = await board.content()
        if if_none_match == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(content, media_type="application/json", headers={"ETag": tag})


def _add_tickets(app: FastAPI, agent: Agent, guard: Guard) -> None:
    creators = Depends(guard.role(Role.USER, Role.SVM, action=Action.CREATE))
    deleters = Depends(guard.role(Role.USER, Role.SVM, action=Action.DELETE))

    @app.post("/tickets", status_code=201)
    def post_tickets(
        body: TicketsBody,
        peer: Annotated[Peer, creators],
        dslice_delegation: DelegationHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        check_slice_name(body.slice)
        owner, delegation, signed = wanted_by(agent, peer, dslice_delegation)
        demand = body.demand(owner)
        authorize(delegation.svm, owner, body.slice, Action.CREATE, delegation)
        key = idempotency_key or str(uuid4())
        wanted = TicketRequest(peer.identity, key, digest(body.asked()), demand, body.leaselen)
        return Response(agent.grant(wanted, signed), 201, media_type="application/json")

    @app.post("/plans", dependencies=[Depends(guard.role(Role.USER, Role.SVM))])
    def post_plan(body: PlanBody) -> dict[str, Any]:
        return {"ads": [ad_to_json(ad) for ad in agent.plan(body.demand(Identity.parse(body.owner)))]}

    @app.delete("/tickets/{jti}", status_code=204)
    def delete_ticket(jti: str, peer: Annotated[Peer, deleters], dslice_delegation: DelegationHeader = None) -> None:
        _, delegation = on_behalf(agent, peer, dslice_delegation)
        with agent.engine.begin() as connection:
            found = tickets.find(connection, jti)
            if found is None:
                raise Refusal(Code.NOT_FOUND, "no such ticket was issued here; nothing to give back")
            authorize(peer.identity, Identity.parse(found.owner), found.slice, Action.DELETE, delegation)
            returned = tickets.give_back(connection, jti)
        if returned:
            TICKETS.labels("returned").inc()


def _add_slices(app: FastAPI, agent: Agent, guard: Guard) -> None:
    deleters = Depends(guard.role(Role.USER, Role.SVM, action=Action.DELETE))

    @app.delete("/slices/{name}", status_code=204)
    def delete_slice(
        name: str, body: ReleaseBody, peer: Annotated[Peer, deleters], dslice_delegation: DelegationHeader = None
    ) -> None:
        _, delegation = on_behalf(agent, peer, dslice_delegation)
        with agent.engine.connect() as connection:
            found = tickets.registered(connection, body.slice_id)
        if found is None:
            raise Refusal(Code.NOT_FOUND, f"slice {name[:40]!a} is not registered through this agent, or not any more")
        if found.slice != name:
            raise Refusal(Code.BAD_INPUT, f"that slice_id is not of {name[:40]!a}; look it up again")
        authorize(peer.identity, Identity.parse(found.owner), found.slice, Action.DELETE, delegation)
        agent.release(name, body.slice_id, body.held_until)


def on_behalf(agent: Agent, peer: Peer, token: str | None) -> tuple[Identity, Delegation | None]:
    """The owner for whom a caller speaks: a user for himself, a service manager by delegation only.

    Raises:
        Refusal: NOT_ALLOWED without one, or as `trust.documents.verify_delegation`, which also wants its signer to be
            a PI and not revoked.
    """
    if peer.identity.role is Role.USER:
        return peer.identity, None
    if token is None:
        raise Refusal(Code.NOT_ALLOWED, f"{peer.identity} needs the owner's delegation; run the command again")
    delegation = verify_delegation(token, store=agent.store, audience=peer.identity)
    return delegation.issuer, delegation


def wanted_by(agent: Agent, peer: Peer, token: str | None) -> tuple[Identity, Delegation, str]:
    """The owner, and what he signed for this slice, which plc wants to see before it registers a name for him.

    A user who asks by himself delegates to this agent, a service manager shows the owner's delegation to it. Raises
    Refusal as `on_behalf`.
    """
    by_himself = peer.identity.role is Role.USER
    if by_himself and not peer.pi:
        raise Refusal(Code.NOT_ALLOWED, f"{peer.identity.name} is not a PI; only PIs can change slices; ask yours")
    to = agent.identity if by_himself else peer.identity
    if token is None:
        raise Refusal(Code.NOT_ALLOWED, f"this needs the owner's delegation to {to} in Dslice-Delegation; sign one")
    delegation = verify_delegation(token, store=agent.store, audience=to)
    if by_himself and delegation.issuer != peer.identity:
        raise Refusal(Code.NOT_OWNER, f"this delegation is from {delegation.issuer.name}, not from you; sign your own")
    return delegation.issuer, delegation, token
