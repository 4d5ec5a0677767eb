"""Routes of what services need from plc: the lists it signs, the directory, the registry of slice names."""

from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import JSONResponse

from plc import ca, directory, names
from plc.accounts import load, require_may_own_slices
from plc.api.bodies import Announcement, RegistrationBody, ReleaseBody
from plc.api.callers import Callers
from plc.central import Central
from rpc.server import open_route
from trust.authorize import Action, authorize
from trust.certificates import certificate_to_pem, fingerprint
from trust.documents import verify_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import MAX_TOKEN
from trust.names import check_slice_name
from trust.peers import Peer
from trust.store import TrustStore


def open_routes(central: Central) -> APIRouter:
    """For everyone: who is who."""
    router = APIRouter()
    root = certificate_to_pem(central.authority.certificate)
    sha256 = fingerprint(central.authority.certificate)

    @router.get("/.well-known/planetlab")
    @open_route
    def planetlab() -> dict[str, object]:
        if central.settings.directory_file:
            return directory.whole(directory.from_file(central.settings.directory_file), root, sha256)
        with central.begin() as connection:
            return directory.whole(directory.announced(connection), root, sha256)

    return router


def list_routes(central: Central) -> APIRouter:
    """For everyone: the lists that the CA signs."""
    router = APIRouter()

    @router.get("/crl")
    @open_route
    def crl(accept: str = Header(default="*/*")) -> Response:
        with central.begin() as connection:
            pem = ca.current_list(connection, central.authority, central.clock.now())
        if "application/json" in accept:  # our own clients, whose answers are all JSON
            return JSONResponse({"crl": pem.decode()})
        return Response(pem, media_type="application/x-pem-file")

    @router.get("/stops")
    @open_route
    def stops() -> dict[str, str]:
        with central.begin() as connection:
            return {"stops": ca.stop_list(connection, central.authority, central.clock.now())}

    return router


def service_routes(central: Central, callers: Callers) -> APIRouter:
    """Agents and svms: where they answer."""
    router = APIRouter()

    @router.put("/services/self", status_code=204)
    def announce(body: Announcement, peer: Peer = Depends(callers.peer(Role.AGENT, Role.SVM))) -> None:
        with central.begin() as connection:
            directory.announce(connection, peer.identity, body.url, central.clock.now())

    return router


def name_routes(central: Central, callers: Callers) -> APIRouter:
    """Agents: slice names."""
    router = APIRouter()
    agents = callers.peer(Role.AGENT, action=Action.CREATE)

    @router.put("/slices/{name}")
    def register(
        name: str,
        body: RegistrationBody,
        agent: Peer = Depends(agents),
        dslice_delegation: str | None = Header(default=None, max_length=MAX_TOKEN),
    ) -> dict[str, UUID]:
        owner, name = Identity.parse(body.owner), check_slice_name(name)
        if owner.role is not Role.USER:
            raise Refusal(Code.BAD_INPUT, f"{owner} cannot own a slice; only users can")
        _require_owners_word(callers.guard.store, agent.identity, owner, name, dslice_delegation)
        with central.begin() as connection:
            who = load(connection, owner.name, lock=True)
            require_may_own_slices(who, central.settings)
            cap, now = central.settings.names_per_user, central.clock.now()
            return {"slice_id": names.register(connection, name, who, agent.identity.name, cap, now)}

    @router.delete("/slices/{name}", status_code=204)
    def release(name: str, body: ReleaseBody, agent: Peer = Depends(callers.peer(Role.AGENT))) -> None:
        now = central.clock.now()
        with central.begin() as connection:
            names.release(connection, name, body.slice_id, agent.identity.name, body.held_until, now)

    return router


def _require_owners_word(store: TrustStore, agent: Identity, owner: Identity, name: str, token: str | None) -> None:
    """What the owner signed for this slice: a delegation to his service manager, or to the agent that he asked himself.

    Otherwise every agent could use up everybody's names. Raises Refusal NOT_ALLOWED, NOT_OWNER, or as
    ``verify_delegation``.
    """
    if token is None:
        raise Refusal(Code.NOT_ALLOWED, f"no name is registered for {owner.name} without a delegation that they signed")
    delegation = verify_delegation(token, store=store, audience=None)
    if delegation.svm.role is Role.AGENT and delegation.svm != agent:
        raise Refusal(Code.NOT_ALLOWED, f"this delegation is for {delegation.svm}, not {agent}; sign another")
    authorize(delegation.svm, owner, name, Action.CREATE, delegation)
