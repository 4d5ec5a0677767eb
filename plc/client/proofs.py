"""Small signed texts (JWS compact) of plc's own: the stop list, the drained nodes, a user's proof of holding a key.

======== ========================== ================= ==========================================
text     typ                        signer, alg       claims
======== ========================== ================= ==========================================
stops    dslice-stops+jwt           the CA, ES256     iat, owners (identities)
drains   dslice-drains+jwt          the CA, ES256     iat, drains (`plc.client.orders.Drain`, as JSON)
proof    dslice-request-proof+jwt   the key, PS256    iss (user), aud (plc), iat
======== ========================== ================= ==========================================

Neither carries a certificate: the reader already has the one key that may have signed.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from plc.client.values import PLC
from trust.certificates import CertificateKey
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import DocumentType, open_with_key, sign

STOPS = DocumentType("dslice-stops+jwt", "ES256", Role.PLC)
PROOF = DocumentType("dslice-request-proof+jwt", "PS256", Role.USER)
# A replayed proof shows its holder's request and certificate to whoever broke TLS: the bound is for tidiness only.
PROOF_SECONDS = 3600


def key_sha256(public_key: CertificateKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex: how a key is named."""
    return sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign_stops(owners: Sequence[Identity], key: EllipticCurvePrivateKey, now: datetime) -> str:
    claims = {"iat": int(now.timestamp()), "owners": [owner.uri for owner in owners]}
    return sign(STOPS, claims, key)


def read_stops(token: str, key: object) -> frozenset[Identity]:
    """Owners whose sessions and slivers nodes must stop now (``dslice plc disable --stop``), of a list that the root's
    public key signed; Refusal(NOT_AUTHENTICATED) for any other."""
    try:
        claims = open_with_key(token, STOPS, key)
        return frozenset(Identity.parse(uri) for uri in claims["owners"])
    except (ValueError, KeyError, TypeError, Refusal) as error:
        raise _wrong("the stop list is not signed by plc's CA; fetch it again") from error


def sign_proof(user: Identity, key: RSAPrivateKey, now: datetime) -> str:
    claims = {"iss": user.uri, "aud": PLC.uri, "iat": int(now.timestamp())}
    return sign(PROOF, claims, key)


def check_proof(token: str, user: Identity, key: RSAPublicKey, now: datetime) -> None:
    """Refusal(NOT_AUTHENTICATED) unless the holder of ``key`` made this for ``user`` and plc, within the hour."""
    try:
        claims = open_with_key(token, PROOF, key)
    except Refusal as error:
        raise _wrong("this is not signed with the key of the request; use the folder of that key") from error
    if claims.get("iss") != user.uri or claims.get("aud") != PLC.uri:
        raise _wrong("this proof is for somebody else; run plkeygen --refresh again")
    made = claims.get("iat")
    if type(made) is not int or abs(now.timestamp() - made) > PROOF_SECONDS:
        raise _wrong("this proof is too old or from the future; check your clock and run plkeygen --refresh again")


def _wrong(reason: str) -> Refusal:
    return Refusal(Code.NOT_AUTHENTICATED, reason)
