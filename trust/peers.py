"""Who holds this certificate? One answer for TLS peers and document signers alike (docs/protocol.md, "Identities")."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from trust.certificates import ADMIN_UNIT, PI_UNIT, UNREADABLE, key_fits
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

# Far more than any certificate of plc's needs; bounds what a stranger makes us parse.
MAX_CERTIFICATE = 8 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """The holder of a certificate that was verified: at that moment valid, of plc's CA and not revoked."""

    identity: Identity
    serial: int
    not_before: datetime
    not_after: datetime
    pi: bool
    certificate: x509.Certificate
    admin: bool = False


def verify_certificate(
    certificate: bytes | x509.Certificate,
    *,
    root: x509.Certificate,
    now: datetime,
    roles: Collection[Role],
    revoked: Collection[int] = (),
) -> Peer:
    """The peer whose certificate (DER, or already parsed) this is; ``revoked`` are serials.

    Raises Refusal: NOT_AUTHENTICATED if it is not a valid certificate of ours, REVOKED, NOT_ALLOWED if its role is
    not one of ``roles``.
    """
    peer = authentic(certificate, root=root, now=now)
    check_admissible(peer, roles=roles, revoked=revoked)
    return peer


def authentic(certificate: bytes | x509.Certificate, *, root: x509.Certificate, now: datetime) -> Peer:
    """Whose certificate of plc's CA this is: the same at any moment at which both it and the root are valid.

    Raises Refusal(NOT_AUTHENTICATED).
    """
    leaf = _parsed(certificate) if isinstance(certificate, bytes) else certificate
    _check_validity(leaf, now)
    _check_chain(leaf, root, now)
    identity = _identity(leaf)
    if not key_fits(identity.role, leaf.public_key()):
        raise _not_authenticated(f"the certificate of {identity} has a key of the wrong type")
    units = _units(leaf) if identity.role is Role.USER else frozenset()
    return Peer(
        identity=identity,
        serial=leaf.serial_number,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        pi=PI_UNIT in units,
        certificate=leaf,
        admin=ADMIN_UNIT in units,
    )


def check_admissible(peer: Peer, *, roles: Collection[Role], revoked: Collection[int]) -> None:
    """What is asked at each request. Raises Refusal: REVOKED, NOT_ALLOWED if its role is not one of ``roles``."""
    if peer.serial in revoked:
        raise Refusal(Code.REVOKED, f"the certificate of {peer.identity.name} is revoked; get a new one")
    if peer.identity.role not in roles:
        who = ", ".join(sorted(roles))
        raise Refusal(Code.NOT_ALLOWED, f"{peer.identity} is not one of those who may do this: {who}")


def _parsed(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE:
        raise _not_authenticated(f"the certificate is longer than {MAX_CERTIFICATE} bytes")
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise _not_authenticated("the certificate cannot be read") from error


def _check_validity(leaf: x509.Certificate, now: datetime) -> None:
    """The verifier checks this too, but does not tell people which of the two it is, nor what to do."""
    if now < leaf.not_valid_before_utc:
        raise _not_authenticated("the certificate is not valid yet; check both clocks")
    if now > leaf.not_valid_after_utc:
        raise _not_authenticated(f"the certificate expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")


def _check_chain(leaf: x509.Certificate, root: x509.Certificate, now: datetime) -> None:
    """Signed by the root itself (no intermediates), within its own and the root's validity, for clientAuth."""
    policy = ExtensionPolicy.webpki_defaults_ee().require_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _require_client_auth
    )
    builder = PolicyBuilder().store(Store([root])).time(now).max_chain_depth(0)
    verifier = builder.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=policy
    ).build_client_verifier()
    try:
        verifier.verify(leaf, [])
    except (VerificationError, *UNREADABLE) as error:
        raise _not_authenticated("the certificate is not one that plc's CA issued for this") from error


def _require_client_auth(_policy: Policy, _leaf: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
    # A validator of one's own replaces the library's, which takes a leaf without any EKU as well.
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("EKU does not name clientAuth")


def _identity(leaf: x509.Certificate) -> Identity:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise _not_authenticated(f"the certificate must name one identity and names {len(uris)}")
    try:
        return Identity.parse(uris[0])
    except Refusal as error:
        raise _not_authenticated(f"the certificate names no identity of ours: {error.reason}") from error


def _units(leaf: x509.Certificate) -> frozenset[str | bytes]:
    return frozenset(unit.value for unit in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME))


def _not_authenticated(what: str) -> Refusal:
    return Refusal(Code.NOT_AUTHENTICATED, f"{what}; get a certificate with plkeygen (services: dslice enroll)")
