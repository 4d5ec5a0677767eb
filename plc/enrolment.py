"""How services get in: one-time tokens of the operator, and what they are enrolled as.

A token is one printable line, `dslice-ROLE-NAME-SECRET-CA`: a secret of 128 bits in base32 and the SHA-256 of the CA,
so that a service trusts nothing that it was not told. Stored hashed, good once, for an hour, for one role, name and
set of addresses. The same key may ask again within the hour: an answer that was lost costs no new token.
"""

from base64 import b32encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, Row, and_, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from models.plc import enrolment_token, service
from plc.accounts import Actor
from plc.ca import issue, record, require_pace, require_unrevoked, revoke, revoke_all
from plc.client.proofs import key_sha256
from plc.client.token import Token
from plc.journal import note, note_all
from trust.certificates import Authority, CertificateKey, fingerprint
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

TOKEN_SECONDS = 3600
SERVICES = (Role.AGENT, Role.NODE, Role.SVM)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a token is for: a service and the addresses (IPs or host names) that its certificate will name."""

    identity: Identity
    addresses: tuple[str, ...]


def make_tokens(
    connection: Connection, authority: Authority, actor: Actor, places: Iterable[Enrolment], now: datetime
) -> list[str]:
    """One token for each place, in order. Raises Refusal NOT_ALLOWED, BAD_INPUT."""
    if not actor.is_operator:
        raise Refusal(Code.NOT_ALLOWED, "only the operator of plc makes enrolment tokens")
    made, rows = [], []
    for place in places:
        token = _new_token(place, authority)
        made.append(str(token))
        rows.append(
            {
                "secret_sha256": _hashed(token.secret),
                "role": place.identity.role,
                "name": place.identity.name,
                "addresses": list(place.addresses),
                "made_at": now,
                "expires_at": now + timedelta(seconds=TOKEN_SECONDS),
            }
        )
        note(connection, now, actor.name, "token", str(place.identity), " ".join(place.addresses))
    if rows:
        connection.execute(enrolment_token.insert(), rows)
    return made


def enrol(
    connection: Connection,
    authority: Authority,
    secret: str,
    key: CertificateKey,
    addresses: Sequence[str],
    lifetime: int,
    now: datetime,
) -> x509.Certificate:
    """The first certificate of a service, or its next after the last one ended; older ones are revoked.

    Raises Refusal: NOT_AUTHENTICATED for a token that is unknown, used or too old; BAD_INPUT for an address that the
    token is not for, or a key of the wrong type.
    """
    found = _use(connection, secret, key_sha256(key), now)
    foreign = set(addresses) - set(found.addresses)
    if foreign:
        raise Refusal(
            Code.BAD_INPUT, f"this token is for {', '.join(found.addresses)}, not for {', '.join(sorted(foreign))}"
        )
    identity = Identity(Role(found.role), found.name)
    require_pace(connection, identity, lifetime, found.made_at)
    enrolled = {"addresses": found.addresses, "enrolled_at": now}
    connection.execute(
        insert(service)
        .values(role=found.role, name=found.name, **enrolled)
        .on_conflict_do_update(index_elements=[service.c.role, service.c.name], set_=enrolled)
    )
    revoke(connection, identity, "enrolled again", now)
    note(connection, now, str(identity), "enrol", str(identity), " ".join(found.addresses))
    return issue(connection, authority, identity, key, now=now, lifetime=lifetime, addresses=tuple(found.addresses))


def enrol_directly(
    connection: Connection,
    authority: Authority,
    actor: Actor,
    places: Sequence[tuple[Enrolment, CertificateKey]],
    lifetime: int,
    now: datetime,
) -> list[x509.Certificate]:
    """First certificates of many services without tokens, in order, for who sits at plc's own machine.

    A few statements however many they are. As with ``enrol`` older certificates of theirs are revoked. Raises Refusal
    NOT_ALLOWED, BAD_INPUT.
    """
    if not actor.is_operator:
        raise Refusal(Code.NOT_ALLOWED, "only the operator of plc enrols services without tokens")
    made = [
        authority.issue(place.identity, key, now=now, lifetime=lifetime, addresses=place.addresses)
        for place, key in places
    ]
    if not made:
        return made
    _keep_services(connection, [place for place, _ in places], now)
    revoke_all(connection, [place.identity for place, _ in places], "enrolled again", now)
    note_all(connection, now, actor.name, "enrol", [(str(at.identity), " ".join(at.addresses)) for at, _ in places])
    record(connection, [(place.identity, key, one) for (place, key), one in zip(places, made, strict=True)], now=now)
    return made


def _keep_services(connection: Connection, places: Sequence[Enrolment], now: datetime) -> None:
    """Where these services are, from now on."""
    rows = [{"role": at.identity.role, "name": at.identity.name, "addresses": list(at.addresses)} for at in places]
    enrolled = insert(service).values(enrolled_at=now)
    changes = {"addresses": enrolled.excluded.addresses, "enrolled_at": enrolled.excluded.enrolled_at}
    connection.execute(
        enrolled.on_conflict_do_update(index_elements=[service.c.role, service.c.name], set_=changes), rows
    )


def renew_service(
    connection: Connection,
    authority: Authority,
    identity: Identity,
    old_serial: int,
    key: CertificateKey,
    lifetime: int,
    now: datetime,
) -> x509.Certificate:
    """The next certificate of a service that shows its old one, for the addresses it is enrolled with."""
    require_unrevoked(connection, old_serial)
    addresses = connection.scalar(
        select(service.c.addresses).where(service.c.role == identity.role, service.c.name == identity.name)
    )
    if addresses is None:
        raise Refusal(Code.NOT_FOUND, f"{identity} is not enrolled; get a token with dslice plc token")
    require_pace(connection, identity, lifetime, now - timedelta(hours=1))
    return issue(connection, authority, identity, key, now=now, lifetime=lifetime, addresses=tuple(addresses))


def services(connection: Connection) -> Sequence[Row[Any]]:
    """Every enrolled service: role, name, addresses, url."""
    return connection.execute(select(service).order_by(service.c.role, service.c.name)).all()


def purge_tokens(connection: Connection, now: datetime) -> None:
    connection.execute(delete(enrolment_token).where(enrolment_token.c.expires_at < now - timedelta(days=1)))


def _new_token(place: Enrolment, authority: Authority) -> Token:
    if place.identity.role not in SERVICES:
        raise Refusal(Code.BAD_INPUT, f"a {place.identity.role} does not enrol with a token; users run plkeygen")
    if not place.addresses:
        raise Refusal(Code.BAD_INPUT, f"say at which addresses {place.identity.name} answers")
    secret = b32encode(token_bytes(16)).decode().rstrip("=").lower()
    return Token(place.identity, secret, fingerprint(authority.certificate))


def _use(connection: Connection, secret: str, key_hash: str, now: datetime) -> Row[Any]:
    """Burn the token for this key, or find it burnt for this very key."""
    unused = enrolment_token.c.used_at.is_(None)
    used_by_it = enrolment_token.c.used_key_sha256 == key_hash
    found = connection.execute(
        update(enrolment_token)
        .where(
            and_(
                enrolment_token.c.secret_sha256 == _hashed(secret),
                enrolment_token.c.expires_at > now,
                or_(unused, used_by_it),
            )
        )
        .values(used_at=now, used_key_sha256=key_hash)
        .returning(enrolment_token)
    ).one_or_none()
    if found is None:
        raise Refusal(
            Code.NOT_AUTHENTICATED,
            "this token is unknown, used already or older than an hour; get another with dslice plc token",
        )
    return found


def _hashed(secret: str) -> str:
    # 128 random bits need no slow hash.
    return sha256(secret.encode()).hexdigest()
