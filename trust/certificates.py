"""Keys, certificate requests, certificates and plc's certificate authority (docs/protocol.md, "Identities", RFC 5280).

PEM is ``str`` here, except for the revocation list, which travels as bytes.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import UNREADABLE_KEY, PrivateKey, key_from_pem, pem_bytes

CertificateKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

# What cryptography raises, at loading or when a part is first looked at, for bytes that somebody else chose.
UNREADABLE = (
    *UNREADABLE_KEY,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
ROOT_LIFETIME = 20 * 365 * 86_400
# Certificates start this many seconds early, so that a peer whose clock is behind takes a new one at once.
BACKDATE = 60
# A list says when its successor is due; what services act on is its age (trust/store.py).
CRL_LIFETIME = 3600
ORGANIZATION = "PlanetLab"
PI_UNIT, ADMIN_UNIT = "PI", "Admin"


def new_private_key(role: Role) -> PrivateKey:
    """A fresh key of the type that the role demands: RSA-2048 for users, ECDSA P-256 for services."""
    if role is Role.USER:
        return rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def key_fits(role: Role, key: object) -> bool:
    """Whether a public key is of the type that the role demands: users RSA 2048–4096, services ECDSA P-256."""
    if role is Role.USER:
        return isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def key_to_pem(key: PrivateKey) -> str:
    """PKCS #8 without a password; the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def certificate_to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def certificate_from_pem(pem: str | bytes) -> x509.Certificate:
    """The first certificate in a PEM text; Refusal(BAD_INPUT) if there is none."""
    try:
        return x509.load_pem_x509_certificate(pem_bytes(pem))
    except UNREADABLE as error:
        raise Refusal(Code.BAD_INPUT, "not a PEM certificate; fetch it again") from error


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER in 64 lower-case hex digits, without colons."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def new_request(key: PrivateKey, identity: Identity) -> str:
    """A PKCS #10 request in PEM. plc uses its public key only; the names are there for people who look at it."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(identity))
        .add_extension(_alternative_name(identity, ()), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def public_key_of_request(pem: str | bytes) -> CertificateKey:
    """The public key of a request, whose signature shows that the sender holds the private half.

    Raises Refusal(BAD_INPUT). Nothing else of a request counts: plc decides who its sender is.
    """
    try:
        request = x509.load_pem_x509_csr(pem_bytes(pem))
        key, valid = request.public_key(), request.is_signature_valid
    except UNREADABLE as error:
        raise Refusal(Code.BAD_INPUT, "not a PEM certificate request; make one with plkeygen") from error
    if not valid:
        raise Refusal(Code.BAD_INPUT, "the certificate request is not signed with its own key; make a new one")
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise Refusal(Code.BAD_INPUT, "a certificate request needs an RSA or ECDSA key; make one with plkeygen")
    return key


@dataclass(frozen=True, slots=True)
class Authority:
    """plc's certificate authority: the root's private key and the root itself."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, now: datetime) -> Self:
        """A new root: P-256, ``pathlen:0`` (it signs leaves only), for 20 years."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
                x509.NameAttribute(NameOID.COMMON_NAME, "PlanetLab CA"),
            ]
        )
        builder = _builder(name, name, key.public_key(), key.public_key(), now, now + timedelta(seconds=ROOT_LIFETIME))
        return cls(key, _with_usage(builder, authority=True).sign(key, hashes.SHA256()))

    def issue(
        self,
        identity: Identity,
        public_key: CertificateKey,
        *,
        now: datetime,
        lifetime: int,
        addresses: Sequence[str] = (),
        pi: bool = False,
        admin: bool = False,
    ) -> x509.Certificate:
        """A certificate for ``lifetime`` seconds from now (never beyond the root's own end).

        ``addresses`` are the IP addresses or DNS names at which a service answers; ``pi`` writes ``OU=PI``,
        ``admin`` ``OU=Admin``.
        Raises Refusal(BAD_INPUT) for a key of the wrong type, a bad address, or either of them at the wrong role.
        """
        if not key_fits(identity.role, public_key):
            kind = "RSA of 2048 to 4096 bits" if identity.role is Role.USER else "ECDSA P-256"
            raise Refusal(Code.BAD_INPUT, f"a certificate for {identity} needs a key that is {kind}; make a new key")
        if identity.role is Role.USER and addresses:
            raise Refusal(Code.BAD_INPUT, "a user's certificate names no address; leave them out")
        if identity.role is not Role.USER and (pi or admin):
            raise Refusal(Code.BAD_INPUT, "only a user can be a PI or an admin; leave the flags out")
        end = min(now + timedelta(seconds=lifetime), self.certificate.not_valid_after_utc)
        subject = _subject(identity, *[PI_UNIT] * pi, *[ADMIN_UNIT] * admin)
        builder = _builder(subject, self.certificate.subject, public_key, self.key.public_key(), now, end)
        builder = _with_usage(builder, authority=False)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if identity.role is not Role.USER:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(_alternative_name(identity, addresses), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def sign_crl(self, revoked: Iterable[tuple[int, datetime]], *, number: int, now: datetime) -> bytes:
        """The revocation list in PEM: (serial, revoked at) of every certificate that is revoked.

        Numbers must only ever grow, also when plc is restored from a backup: the time in seconds does.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + timedelta(seconds=CRL_LIFETIME))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_issuer_key(self.key.public_key()), critical=False)
        )
        for serial, revoked_at in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked_at).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def to_pem(self) -> str:
        """Private key and root, one after the other: a secret."""
        return key_to_pem(self.key) + certificate_to_pem(self.certificate)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> Self:
        """What ``to_pem`` wrote; Refusal(BAD_INPUT) if the two do not belong together."""
        key, certificate = key_from_pem(pem), certificate_from_pem(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise Refusal(Code.BAD_INPUT, "the CA's key and certificate do not belong together; restore them both")
        return cls(key, certificate)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    """What every certificate has, the root's too."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATE))
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_issuer_key(issuer_key), critical=False)
    )


def _with_usage(builder: x509.CertificateBuilder, *, authority: bool) -> x509.CertificateBuilder:
    """A root signs certificates and lists, and nothing below it may; a leaf signs data."""
    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=authority, path_length=0 if authority else None)
    return builder.add_extension(usage, critical=True).add_extension(constraints, critical=True)


def _issuer_key(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _subject(identity: Identity, *units: str) -> x509.Name:
    """For people to read; only ``OU=PI`` and ``OU=Admin`` count.

    A common name holds 64 characters (RFC 5280, appendix A).
    """
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units),
            x509.NameAttribute(NameOID.COMMON_NAME, identity.name[:64]),
        ]
    )


def _alternative_name(identity: Identity, addresses: Iterable[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    names.extend(_address(address) for address in addresses)
    return x509.SubjectAlternativeName(names)


def _address(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(Identity(Role.NODE, text).name)
    except Refusal as error:
        raise Refusal(Code.BAD_INPUT, f"{text[:80]!a} is neither an IP address nor a host name") from error
