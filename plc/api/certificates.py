"""Routes of certificates: users' requests and their decision, renewal and rotation, services' enrolment."""

import logging

from fastapi import APIRouter, Depends, Request

from plc import certificates, enrolment
from plc.accounts import Account, Actor
from plc.api.accounts import address_of
from plc.api.bodies import (
    CertificateRequestBody,
    DecisionBody,
    EnrolmentBody,
    RenewalBody,
    RevocationBody,
    StatusBody,
)
from plc.api.callers import Callers
from plc.central import Central
from rpc.server import open_route
from trust.certificates import certificate_to_pem, public_key_of_request
from trust.identity import Identity, Role
from trust.peers import Peer

log = logging.getLogger(__name__)


def request_routes(central: Central) -> APIRouter:
    """Open: asking, and asking how it stands."""
    router = APIRouter()

    @router.post("/certificates", status_code=202)
    @open_route
    def ask(body: CertificateRequestBody, request: Request) -> dict[str, object]:
        key = public_key_of_request(body.request)
        who = central.log_in(body.email, body.password, address_of(request))
        with central.begin() as connection:
            asked = certificates.ask(connection, who, key, central.settings, central.clock.now())
            shown = _shown(central, asked)
        log.info("certificate asked for", extra={"account": who.email, "id": shown["id"], "state": shown["state"]})
        return shown

    @router.post("/certificates/status")
    @open_route
    def status(body: StatusBody) -> dict[str, object]:
        who = Identity.user(body.email)
        with central.begin() as connection:
            return _shown(central, certificates.status(connection, who, body.key, body.proof, central.clock.now()))

    return router


def decision_routes(central: Central, callers: Callers) -> APIRouter:
    """Admins: what waits, and deciding it."""
    router = APIRouter()

    @router.get("/requests")
    def requests(actor: Actor = Depends(callers.actor())) -> dict[str, object]:
        with central.begin() as connection:
            waiting = certificates.waiting(connection, actor)
        return {"requests": [{**_shown(central, one), **_whose(one, who)} for one, who in waiting]}

    @router.post("/requests/{which}/decision")
    def decide(which: str, body: DecisionBody, actor: Actor = Depends(callers.actor())) -> dict[str, object]:
        now = central.clock.now()
        with central.begin() as connection:
            if body.approve:
                done = certificates.approve(connection, central.authority, actor, which, central.settings, now)
            else:
                done = certificates.deny(connection, actor, which, body.reason, central.settings, now)
            return _shown(central, done)

    return router


def renewal_routes(central: Central, callers: Callers) -> APIRouter:
    """With the old certificate: the next one. Rotation revokes the old one with the new one."""
    router = APIRouter()
    authority, settings = central.authority, central.settings
    holders = (Role.USER, Role.AGENT, Role.NODE, Role.SVM)

    @router.post("/certificates/renew", status_code=201)
    def renew(body: RenewalBody, peer: Peer = Depends(callers.peer(*holders))) -> dict[str, str]:
        key, now = public_key_of_request(body.request), central.clock.now()
        with central.begin() as connection:
            if peer.identity.role is Role.USER:
                made = certificates.renew(connection, authority, peer.identity.name, peer.serial, key, settings, now)
            else:
                made = enrolment.renew_service(
                    connection, authority, peer.identity, peer.serial, key, settings.service_lifetime, now
                )
        return {"certificate": certificate_to_pem(made)}

    @router.post("/certificates/revoke", status_code=204)
    def revoke(body: RevocationBody, peer: Peer = Depends(callers.peer(Role.USER))) -> None:
        with central.begin() as connection:
            serial = int(body.serial, 16)
            certificates.revoke_own(connection, peer.identity, peer.serial, serial, central.clock.now())

    @router.post("/enrolment", status_code=201)
    @open_route
    def enrol(body: EnrolmentBody) -> dict[str, str]:
        key, lifetime = public_key_of_request(body.request), settings.service_lifetime
        with central.begin() as connection:
            made = enrolment.enrol(
                connection, authority, body.secret, key, body.addresses, lifetime, central.clock.now()
            )
        return {"certificate": certificate_to_pem(made)}

    return router


def _shown(central: Central, request: certificates.Request) -> dict[str, object]:
    """As ``plc.client.values.CertificateRequest`` reads it."""
    return {
        "id": str(request.id),
        "state": request.state,
        "operator": central.settings.ca_operator,
        "requested_at": request.asked_at.isoformat(),
        "reason": request.reason or None,
        "certificate": request.certificate_pem,
    }


def _whose(request: certificates.Request, who: Account) -> dict[str, str]:
    """What ``plc.client.values.Waiting`` reads besides."""
    said = {"email": who.email, "name": who.name, "site": who.site, "standing": who.account_role}
    return {**said, "key_sha256": request.key_sha256}
