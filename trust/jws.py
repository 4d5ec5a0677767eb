"""Signed documents as such: JWS compact (RFC 7515).

The header is exactly ``alg``, ``typ`` and ``x5c`` with the signer's certificate, which is left out where the reader has
the one key that may have signed. What may stand in it is decided by the type of document that the reader expects, never
by the document. A new kind of document gets a new ``typ``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from trust.errors import Code, Refusal
from trust.identity import Role

if TYPE_CHECKING:
    from cryptography import x509

    from trust.keys import PrivateKey
    from trust.peers import Peer
    from trust.store import TrustStore

MAX_TOKEN = 8 * 1024
REMEMBERED = 256  # documents, each of MAX_TOKEN bytes at most


class Signer(Protocol):
    """A certificate, as far as who signs with its key needs it."""

    @property
    def not_valid_after_utc(self) -> datetime: ...
    def public_bytes(self, encoding: Encoding, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DocumentType:
    """A kind of document: its ``typ``, the one algorithm it is signed with and the role of who signs it."""

    typ: str
    algorithm: str
    signer: Role

    @property
    def title(self) -> str:
        return self.typ.removeprefix("dslice-").removesuffix("+jwt").removesuffix("-2")


TICKET = DocumentType("dslice-ticket+jwt", "ES256", Role.AGENT)
LEASE = DocumentType("dslice-lease+jwt", "ES256", Role.NODE)
DELEGATION = DocumentType("dslice-delegation+jwt", "PS256", Role.USER)
# The same with what the slice needs, where it needs something; beside those above, which older programs read.
TICKET_2 = DocumentType("dslice-ticket-2+jwt", "ES256", Role.AGENT)
LEASE_2 = DocumentType("dslice-lease-2+jwt", "ES256", Role.NODE)

# ES256 and PS256 (RFC 7518, 3.4 and 3.5).
ECDSA, HALF = ec.ECDSA(SHA256()), 32  # bytes of each of the two numbers
PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)


def sign(document: DocumentType, claims: dict[str, Any], key: PrivateKey, certificate: Signer | None = None) -> str:
    """The compact text of a document; the certificate must be the key's."""
    header: dict[str, Any] = {"alg": document.algorithm, "typ": document.typ}
    if certificate is not None:
        header["x5c"] = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    text = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{text}.{_encoded(_signature(document, text.encode(), key))}"


def open_document(token: str, document: DocumentType, store: TrustStore) -> tuple[dict[str, Any], Peer]:
    """The claims, not yet checked, and the signer, wholly checked.

    Raises Refusal: BAD_INPUT for a malformed one; as ``TrustStore.peer`` for its certificate; NOT_AUTHENTICATED if
    the signature is not the certificate's.
    """
    if len(token) > MAX_TOKEN:
        raise malformed(document, f"is longer than {MAX_TOKEN} bytes")
    certificate, claims = _read(token, document)
    signer = store.peer(certificate, {document.signer})
    _check_signer(token, document, signer.certificate)
    return dict(claims), signer


# A delegation comes with each of a service manager's calls. What follows from a text alone is found out once; whether
# its signer is still valid, unrevoked and of the right role, and whether it has ended, is asked each time.


@lru_cache(REMEMBERED)
def _read(token: str, document: DocumentType) -> tuple[bytes, dict[str, Any]]:
    """The signer's certificate (DER) and the claims, neither checked yet."""
    header, payload, _signature = _parts(token, document)
    return _certificate(_object(header, document), document), _object(payload, document)


@lru_cache(REMEMBERED)
def _check_signer(token: str, document: DocumentType, certificate: x509.Certificate) -> None:
    _check_signature(token, document, certificate.public_key())


def of_type(token: str, *documents: DocumentType) -> DocumentType:
    """Which of these the token says that it is; the first, as which it is refused, when it says none of them.

    Raises Refusal(BAD_INPUT) for a malformed one.
    """
    if len(token) > MAX_TOKEN:
        raise malformed(documents[0], f"is longer than {MAX_TOKEN} bytes")
    typ = _object(_parts(token, documents[0])[0], documents[0]).get("typ")
    return next((each for each in documents if each.typ == typ), documents[0])


def open_with_key(token: str, document: DocumentType, public_key: object) -> dict[str, Any]:
    """The claims, not yet checked, of a document without a certificate that only this key may have signed.

    Raises Refusal: BAD_INPUT for a malformed one, NOT_AUTHENTICATED if the signature is not the key's.
    """
    header, payload, _signature = _parts(token, document)
    if _object(header, document) != {"alg": document.algorithm, "typ": document.typ}:
        raise malformed(document, f"must have alg {document.algorithm}, typ {document.typ} and nothing else")
    _check_signature(token, document, public_key)
    return _object(payload, document)


def _parts(token: str, document: DocumentType) -> list[bytes]:
    """Header, payload and signature, out of the only text that stands for them: no padding, no stray characters."""
    parts = token.split(".")
    if len(parts) != 3:
        raise malformed(document, "does not have three parts")
    try:
        decoded = [base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True) for part in parts]
    except ValueError as error:
        raise malformed(document, "is not base64url") from error
    if [_encoded(data) for data in decoded] != parts:
        raise malformed(document, "is not canonical base64url")
    return decoded


def _object(data: bytes, document: DocumentType) -> dict[str, Any]:
    """The JSON object in a part; what two parsers may read differently (repeated keys, NaN) is none."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise malformed(document, "is not JSON with each key once") from error
    if not isinstance(value, dict):
        raise malformed(document, "holds no JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _certificate(header: dict[str, Any], document: DocumentType) -> bytes:
    """The DER of the signer's certificate, out of a header that is exactly as it should be."""
    x5c = header.get("x5c")
    expected = {"alg": document.algorithm, "typ": document.typ, "x5c": x5c}
    if header != expected:
        raise malformed(document, f"must have alg {document.algorithm}, typ {document.typ}, x5c and nothing else")
    if not isinstance(x5c, list) or len(x5c) != 1 or not isinstance(x5c[0], str):
        raise malformed(document, "must carry exactly one certificate")
    try:
        return base64.b64decode(x5c[0], validate=True)
    except ValueError as error:
        raise malformed(document, "carries a certificate that is not base64") from error


def _check_signature(token: str, document: DocumentType, public_key: object) -> None:
    text, _, last = token.rpartition(".")
    signature = base64.urlsafe_b64decode(last + "=" * (-len(last) % 4))
    if not _is_signature(document, signature, text.encode(), public_key):
        reason = f"the signature of this {document.title} is not its signer's; ask for a new one"
        raise Refusal(Code.NOT_AUTHENTICATED, reason)


def _signature(document: DocumentType, text: bytes, key: PrivateKey) -> bytes:
    if document.algorithm == "ES256" and isinstance(key, ec.EllipticCurvePrivateKey) and _is_p256(key):
        return b"".join(part.to_bytes(HALF, "big") for part in decode_dss_signature(key.sign(text, ECDSA)))
    if document.algorithm == "PS256" and isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, PSS, SHA256())
    raise TypeError(f"a {document.title} is not signed with {type(key).__name__}")


def _is_signature(document: DocumentType, signature: bytes, text: bytes, key: object) -> bool:
    try:
        if document.algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and _is_p256(key):
            r, s = (int.from_bytes(part, "big") for part in (signature[:HALF], signature[HALF:]))
            key.verify(encode_dss_signature(r, s), text, ECDSA)
            return len(signature) == 2 * HALF
        if document.algorithm == "PS256" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, PSS, SHA256())
            return True
    except InvalidSignature:
        pass
    return False


def _is_p256(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def malformed(document: DocumentType, how: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, f"this {document.title} {how}; ask for a new one")
