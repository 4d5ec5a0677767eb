"""A small world of keys, certificates and documents, and forgeries that differ from the real ones in one thing."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.certificates import Authority, new_private_key
from trust.documents import Delegation, DelegationKind, Lease, Ticket
from trust.identity import Identity, Role
from trust.keys import PrivateKey
from trust.store import TrustStore

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = 86_400

USER = Identity.user("llp@cs.princeton.edu")
AGENT = Identity(Role.AGENT, "main")
NODE = Identity(Role.NODE, "n1")
SVM = Identity(Role.SVM, "main")
PLC = Identity(Role.PLC, "plc")
SLICE_ID = UUID("7b1c8f8e-3f5a-4a53-9a53-0d4c4ad4a3f1")


@dataclass
class StillClock:
    """A clock that stands still until it is moved."""

    time: datetime = NOW

    def now(self) -> datetime:
        return self.time

    def forward(self, seconds: int) -> None:
        self.time += timedelta(seconds=seconds)


@cache
def key_of(role: Role, number: int = 0) -> PrivateKey:
    """The same key for the same arguments: RSA takes a while to make."""
    return new_private_key(role)


@cache
def authority(number: int = 0) -> Authority:
    """Number 0 is plc's; the others look the same and are not."""
    return Authority.create(NOW - timedelta(days=30))


@cache
def certificate_of(identity: Identity, *, pi: bool = True, lifetime: int = 30 * DAY) -> x509.Certificate:
    """What plc would have issued now."""
    user = identity.role is Role.USER
    return authority().issue(
        identity,
        key_of(identity.role).public_key(),
        now=NOW,
        lifetime=lifetime,
        pi=pi and user,
        addresses=() if user else ("127.0.0.1", "localhost"),
    )


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def store_of(*revoked: int, clock: StillClock | None = None) -> TrustStore:
    """A store that has plc's root and a list of the revoked serials."""
    store = TrustStore(authority().certificate, clock or StillClock())
    store.update(authority().sign_crl([(serial, NOW) for serial in revoked], number=1, now=NOW))
    return store


def rsa_key_of_bits(bits: int) -> rsa.RSAPublicKey:
    """A public key of that length without the wait for a private one."""
    return rsa.RSAPublicNumbers(65_537, (1 << (bits - 1)) + 1).public_key()


@dataclass
class Forgery:
    """A user's certificate, signed by the real CA, in which a test changes one thing."""

    uris: Sequence[str] = (USER.uri,)
    addresses: Sequence[x509.GeneralName] = ()
    usages: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    key: Any = field(default_factory=lambda: key_of(Role.USER).public_key())
    units: Sequence[str] = ()
    is_ca: bool = False
    not_before: datetime = NOW - timedelta(days=1)
    not_after: datetime = NOW + timedelta(days=1)
    signer: Authority = field(default_factory=authority)

    def certificate(self) -> x509.Certificate:
        names = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in self.units]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]))
            .issuer_name(self.signer.certificate.subject)
            .public_key(self.key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
            .add_extension(_issuer_key(self.signer), critical=False)
            .add_extension(x509.BasicConstraints(ca=self.is_ca, path_length=None), critical=True)
        )
        names_found = [*map(x509.UniformResourceIdentifier, self.uris), *self.addresses]
        if names_found:
            builder = builder.add_extension(x509.SubjectAlternativeName(names_found), critical=False)
        if self.usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.usages), critical=False)
        return builder.sign(self.signer.key, hashes.SHA256())


def _issuer_key(signer: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())


def p384_key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP384R1()).public_key()


def ticket(**changes: Any) -> Ticket:
    values: dict[str, Any] = {
        "issuer": AGENT,
        "node": NODE,
        "owner": USER,
        "slice": "oceanstore",
        "slice_id": SLICE_ID,
        "jti": "t-1",
        "leaselen": 1_209_600,
        "issued_at": NOW,
        "expires_at": NOW + timedelta(seconds=3600),
    }
    return Ticket(**values | changes)


def lease(**changes: Any) -> Lease:
    values: dict[str, Any] = {
        "issuer": NODE,
        "owner": USER,
        "slice": "oceanstore",
        "slice_id": SLICE_ID,
        "generation": 1,
        "jti": "l-1",
        "issued_at": NOW,
        "expires_at": NOW + timedelta(seconds=1_209_600),
    }
    return Lease(**values | changes)


def delegation(**changes: Any) -> Delegation:
    values: dict[str, Any] = {
        "issuer": USER,
        "svm": SVM,
        "slice": "oceanstore",
        "kind": DelegationKind.WORKING,
        "jti": "d-1",
        "issued_at": NOW,
        "expires_at": NOW + timedelta(seconds=DAY),
    }
    return Delegation(**values | changes)


def part(value: object) -> str:
    """A part of a JWS: base64url of JSON, or of the text itself."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def unpart(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=="))
