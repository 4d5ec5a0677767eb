"""The certificate authority: what it issued, what it revoked, the lists it signs. Its key: plc/authority.py."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from sqlalchemy import ColumnElement, Connection, Row, exists, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from models.plc import account, certificate, revocation_list
from plc.client.proofs import key_sha256, sign_stops
from trust.certificates import Authority, CertificateKey, certificate_to_pem
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.revocation import RESIGN_SECONDS

PER_HOUR = 10  # certificates of one identity; more of those that live for less than an hour
KEPT_SECONDS = 86_400  # revoked certificates stay listed for this long after their end, for clocks that are behind


def has_issued(connection: Connection) -> bool:
    """Whether any certificate was ever issued, plc's own at its first start included."""
    return bool(connection.scalar(select(exists(select(certificate.c.serial)))))


def issue(
    connection: Connection,
    authority: Authority,
    identity: Identity,
    public_key: CertificateKey,
    *,
    now: datetime,
    lifetime: int,
    addresses: Sequence[str] = (),
    pi: bool = False,
    admin: bool = False,
) -> x509.Certificate:
    """Issue and record, in the caller's transaction: what is not recorded could never be revoked."""
    made = authority.issue(identity, public_key, now=now, lifetime=lifetime, addresses=addresses, pi=pi, admin=admin)
    record(connection, [(identity, public_key, made)], now=now, pi=pi, admin=admin)
    return made


def record(
    connection: Connection,
    issued: Iterable[tuple[Identity, CertificateKey, x509.Certificate]],
    *,
    now: datetime,
    pi: bool = False,
    admin: bool = False,
) -> None:
    """Write down certificates that were issued now, for whom and for which keys."""
    rows = [
        {
            "serial": serial_text(made.serial_number),
            "role": identity.role,
            "name": identity.name,
            "key_sha256": key_sha256(public_key),
            "pem": certificate_to_pem(made),
            "pi": pi,
            "admin": admin,
            "issued_at": now,
            "not_after": made.not_valid_after_utc,
        }
        for identity, public_key, made in issued
    ]
    connection.execute(certificate.insert(), rows)


def revoke(
    connection: Connection, identity: Identity, reason: str, now: datetime, *, only: ColumnElement[bool] | None = None
) -> int:
    """Revoke the identity's certificates that are neither revoked nor ended (of those, ``only`` some); how many."""
    return revoke_all(connection, [identity], reason, now, only=only)


def revoke_all(
    connection: Connection,
    identities: Iterable[Identity],
    reason: str,
    now: datetime,
    *,
    only: ColumnElement[bool] | None = None,
) -> int:
    """The same for many identities."""
    statement = update(certificate).where(
        tuple_(certificate.c.role, certificate.c.name).in_([(identity.role, identity.name) for identity in identities]),
        certificate.c.revoked_at.is_(None),
        certificate.c.not_after > now,
    )
    if only is not None:
        statement = statement.where(only)
    revoked = connection.execute(statement.values(revoked_at=now, revoked_reason=reason)).rowcount
    if revoked:
        # After the rows themselves: whoever signs holds this row's lock, so either sees them or is marked stale.
        mark_stale(connection)
    return revoked


def mark_stale(connection: Connection) -> None:
    """Whoever asks for the list next signs a new one."""
    connection.execute(update(revocation_list).values(stale=True))


def require_unrevoked(connection: Connection, serial: int) -> None:
    """Refusal(REVOKED) by the database itself, which knows earlier than any list."""
    found = connection.scalar(select(certificate.c.revoked_at).where(certificate.c.serial == serial_text(serial)))
    if found is not None:
        raise Refusal(Code.REVOKED, "this certificate is revoked; ask for a new one with plkeygen")


def current_list(connection: Connection, authority: Authority, now: datetime) -> bytes:
    """The revocation list (PEM), signed anew when a revocation came since, or after a minute.

    Numbers only grow. They start at the time, so that they do even after the database was restored from a backup.
    """
    found = connection.execute(select(revocation_list)).one_or_none()
    if found is None:
        first = insert(revocation_list).values(id=1, number=int(now.timestamp()), signed_at=now, pem="", stale=True)
        connection.execute(first.on_conflict_do_nothing())
    elif _is_current(found, now):
        return str(found.pem).encode()
    found = connection.execute(select(revocation_list).with_for_update()).one()
    if _is_current(found, now):  # somebody else signed while we waited
        return str(found.pem).encode()
    pem = authority.sign_crl(_revoked(connection, now), number=found.number + 1, now=now)
    connection.execute(
        update(revocation_list).values(number=found.number + 1, signed_at=now, pem=pem.decode(), stale=False)
    )
    return pem


def stop_list(connection: Connection, authority: Authority, now: datetime) -> str:
    """The owners whose slivers must stop, signed by the CA (JWS compact)."""
    stopped = select(account.c.email).where(account.c.stopped_at.is_not(None)).order_by(account.c.email)
    return sign_stops([Identity.user(email) for email in connection.scalars(stopped)], authority.key, now)


def issued_since(connection: Connection, identity: Identity, since: datetime) -> int:
    """How many certificates this identity was given since then."""
    mine = (certificate.c.role == identity.role) & (certificate.c.name == identity.name)
    counted = select(func.count()).where(mine, certificate.c.issued_at > since)
    return connection.scalar(counted) or 0


def require_pace(connection: Connection, identity: Identity, lifetime: int, since: datetime) -> None:
    """Each certificate is a row for long: Refusal(OVER_CAPACITY) beyond what even the shortest ones need in an hour.

    ``since``: an hour ago, or when the operator gave a token, which is good for an hour.
    """
    most = max(PER_HOUR, 3 * 3600 // lifetime)
    if issued_since(connection, identity, since) >= most:
        raise Refusal(Code.OVER_CAPACITY, f"{most} certificates within an hour are enough for {identity}; try later")


def serial_text(serial: int) -> str:
    return f"{serial:040x}"


def _is_current(signed: Row[Any], now: datetime) -> bool:
    return not signed.stale and abs((now - signed.signed_at).total_seconds()) < RESIGN_SECONDS


def _revoked(connection: Connection, now: datetime) -> Collection[tuple[int, datetime]]:
    rows = connection.execute(
        select(certificate.c.serial, certificate.c.revoked_at).where(
            certificate.c.revoked_at.is_not(None), certificate.c.not_after > now - timedelta(seconds=KEPT_SECONDS)
        )
    )
    return [(int(row.serial, 16), row.revoked_at) for row in rows]
