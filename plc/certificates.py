"""Certificates of users: requests that the CA operator decides, renewal with the old certificate, rotation.

Only the public key is taken from a request; who it is for is the account, which authenticated itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import Connection, Row, Select, Update, func, select, update

from models.plc import account, certificate, certificate_request
from plc import letters
from plc.accounts import Account, Actor, load, require_admin, require_enabled, stated
from plc.ca import issue, require_pace, require_unrevoked, revoke, serial_text
from plc.client.proofs import check_proof, key_sha256
from plc.client.values import RequestState
from plc.journal import note
from plc.mail import post
from plc.settings import Settings
from trust.certificates import Authority, CertificateKey, key_fits
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

REQUESTS_PER_HOUR = 10  # of one account; each one is a row, and a letter to the operator


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its maker; ``certificate_pem`` once it is issued."""

    id: UUID
    email: str
    key_sha256: str
    public_key: str
    state: RequestState
    asked_at: datetime
    reason: str
    certificate_pem: str | None


def ask(connection: Connection, who: Account, key: CertificateKey, settings: Settings, now: datetime) -> Request:
    """Queue a request and write to the CA operator; the key that waits already is the same request.

    A request with another key replaces the one that waits. ``who`` has authenticated. Refusal NOT_ALLOWED, BAD_INPUT.
    """
    require_enabled(load(connection, who.email, lock=True), settings.ca_operator)
    if not key_fits(Role.USER, key):
        raise Refusal(Code.BAD_INPUT, "a user's key is RSA of 2048 to 4096 bits; make one with plkeygen")
    sha256 = key_sha256(key)
    waiting = certificate_request.c.account_id == who.id, certificate_request.c.state == RequestState.PENDING
    same = connection.execute(_requests().where(*waiting, certificate_request.c.key_sha256 == sha256)).one_or_none()
    if same is not None:
        return _request(same)
    _require_pace(connection, who, now)
    _deny(connection, who, "replaced by a newer request", now)
    request_id = uuid4()
    connection.execute(
        certificate_request.insert().values(
            id=request_id,
            account_id=who.id,
            public_key=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            key_sha256=sha256,
            state=RequestState.PENDING,
            asked_at=now,
        )
    )
    told = letters.certificate_requested(settings.ca_operator, who.email, who.name, who.site, who.account_role, sha256)
    post(connection, told, now)
    return _request(connection.execute(_requests().where(certificate_request.c.id == request_id)).one())


def status(connection: Connection, who: Identity, key_hash: str, proof: str, now: datetime) -> Request:
    """The newest request of this user with this key, for whoever proves to hold the key.

    Raises Refusal: NOT_FOUND, the same for an unknown e-mail and for a key that was never sent; NOT_AUTHENTICATED;
    REVOKED when what was issued is no longer good.
    """
    found = connection.execute(
        _requests()
        .where(account.c.email == who.name, certificate_request.c.key_sha256 == key_hash)
        .order_by(certificate_request.c.asked_at.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        raise Refusal(Code.NOT_FOUND, f"there is no certificate request of {who.name} with this key; run plkeygen")
    key = load_pem_public_key(found.public_key.encode())
    if not isinstance(key, RSAPublicKey):
        raise TypeError("ask() took a key that is not an RSA key")
    check_proof(proof, who, key, now)
    if found.revoked_reason is not None:
        raise Refusal(
            Code.REVOKED, f"the certificate of this request was revoked ({found.revoked_reason}); run plkeygen again"
        )
    return _request(found)


def waiting(connection: Connection, actor: Actor) -> Sequence[tuple[Request, Account]]:
    """What the CA operator has to decide, the oldest first, and whose it is. Raises Refusal NOT_ALLOWED."""
    require_admin(actor, "see certificate requests")
    pending = certificate_request.c.state == RequestState.PENDING
    rows = connection.execute(_requests().where(pending).order_by(certificate_request.c.asked_at))
    return [(_request(row), load(connection, row.email)) for row in rows.all()]


def approve(
    connection: Connection, authority: Authority, actor: Actor, which: str, settings: Settings, now: datetime
) -> Request:
    """Issue what an e-mail, or the id of a request, asks for. Raises Refusal NOT_FOUND, NOT_ALLOWED."""
    require_admin(actor, "approve certificate requests")
    found = _pending(connection, which)
    who = load(connection, found.email, lock=True)
    require_enabled(who, settings.ca_operator)
    made = issue_to(connection, authority, who, load_pem_public_key(found.public_key.encode()), settings, now)
    decided = {"state": RequestState.ISSUED, "decided_at": now, "serial": serial_text(made.serial_number)}
    if not connection.execute(_still_pending(found).values(**decided)).rowcount:
        raise _nothing_waits(which)
    note(connection, now, actor.name, "approve", who.email, serial_text(made.serial_number))
    post(connection, letters.certificate_issued(who.email, who.name, made.not_valid_after_utc), now)
    return _request(connection.execute(_requests().where(certificate_request.c.id == found.id)).one())


def deny(connection: Connection, actor: Actor, which: str, reason: str, settings: Settings, now: datetime) -> Request:
    """Raises Refusal NOT_FOUND, NOT_ALLOWED, BAD_INPUT (no reason)."""
    require_admin(actor, "deny certificate requests")
    why = stated(reason)
    found = _pending(connection, which)
    who = load(connection, found.email, lock=True)
    denied = {"state": RequestState.DENIED, "decided_at": now, "reason": why}
    if not connection.execute(_still_pending(found).values(**denied)).rowcount:
        raise _nothing_waits(which)
    note(connection, now, actor.name, "deny", who.email, why)
    post(connection, letters.certificate_denied(who.email, who.name, why, settings.ca_operator), now)
    return _request(connection.execute(_requests().where(certificate_request.c.id == found.id)).one())


def renew(
    connection: Connection,
    authority: Authority,
    email: str,
    old_serial: int,
    key: CertificateKey,
    settings: Settings,
    now: datetime,
) -> x509.Certificate:
    """A new certificate for the holder of a valid one, for the same or another key; the old one stays as it is."""
    who = load(connection, email, lock=True)
    require_enabled(who, settings.ca_operator)
    require_unrevoked(connection, old_serial)
    require_pace(connection, who.identity, settings.user_lifetime, now - timedelta(hours=1))
    made = issue_to(connection, authority, who, key, settings, now)
    note(connection, now, who.email, "renew", who.email, serial_text(made.serial_number))
    return made


def revoke_own(connection: Connection, who: Identity, current: int, serial: int, now: datetime) -> None:
    """With the new certificate, the old one (``plkeygen --rotate``). Idempotent. Refusal NOT_FOUND, BAD_INPUT."""
    if serial == current:
        raise Refusal(Code.BAD_INPUT, "a certificate does not revoke itself; use the newer one")
    text = serial_text(serial)
    mine = (certificate.c.role == who.role) & (certificate.c.name == who.name) & (certificate.c.serial == text)
    if connection.scalar(select(certificate.c.serial).where(mine)) is None:
        raise Refusal(Code.NOT_FOUND, f"{who.name} has no certificate with that serial number")
    if revoke(connection, who, "replaced by its owner", now, only=certificate.c.serial == text):
        note(connection, now, who.name, "revoke", who.name, text)


def drop_requests(connection: Connection, who: Account, reason: str, now: datetime) -> None:
    """Deny what waits, without a letter: whoever calls this writes one of its own."""
    _deny(connection, who, reason, now)


def issue_to(
    connection: Connection, authority: Authority, who: Account, key: Any, settings: Settings, now: datetime
) -> x509.Certificate:
    """A certificate for the account as it is; whoever calls this has locked it and decided."""
    return issue(
        connection,
        authority,
        who.identity,
        key,
        now=now,
        lifetime=settings.user_lifetime,
        pi=who.is_pi or settings.open,
        admin=who.is_admin,
    )


def _pending(connection: Connection, which: str) -> Row[Any]:
    """The pending request of an e-mail or with an id; not locked, since the account comes first."""
    if "@" in which:
        wanted = account.c.email == Identity.user(which).name
    else:
        try:
            wanted = certificate_request.c.id == UUID(which)
        except ValueError as error:
            raise Refusal(Code.BAD_INPUT, f"{which[:40]!a} is neither an e-mail nor the id of a request") from error
    statement = _requests().where(wanted, certificate_request.c.state == RequestState.PENDING)
    found = connection.execute(statement).one_or_none()
    if found is None:
        raise _nothing_waits(which)
    return found


def _require_pace(connection: Connection, who: Account, now: datetime) -> None:
    lately = certificate_request.c.account_id == who.id, certificate_request.c.asked_at > now - timedelta(hours=1)
    asked = connection.scalar(select(func.count()).select_from(certificate_request).where(*lately)) or 0
    if asked >= REQUESTS_PER_HOUR:
        raise Refusal(Code.OVER_CAPACITY, f"{asked} requests within an hour are enough; wait for the operator's answer")


def _still_pending(found: Row[Any]) -> Update:
    mine = (certificate_request.c.id == found.id) & (certificate_request.c.state == RequestState.PENDING)
    return update(certificate_request).where(mine)


def _nothing_waits(which: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"no certificate request of {which} waits; dslice plc requests lists them")


def _deny(connection: Connection, who: Account, reason: str, now: datetime) -> None:
    pending = (certificate_request.c.account_id == who.id) & (certificate_request.c.state == RequestState.PENDING)
    denied = {"state": RequestState.DENIED, "reason": reason, "decided_at": now}
    connection.execute(update(certificate_request).where(pending).values(**denied))


def _requests() -> Select[Any]:
    return (
        select(certificate_request, account.c.email, certificate.c.pem, certificate.c.revoked_reason)
        .join(account, account.c.id == certificate_request.c.account_id)
        .outerjoin(certificate, certificate.c.serial == certificate_request.c.serial)
    )


def _request(row: Row[Any]) -> Request:
    return Request(
        id=row.id,
        email=row.email,
        key_sha256=row.key_sha256,
        public_key=row.public_key,
        state=RequestState(row.state),
        asked_at=row.asked_at,
        reason=row.reason,
        certificate_pem=row.pem,
    )
