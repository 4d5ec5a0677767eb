"""Two small signed texts (JWS compact) of plc's own: the stop list, and a user's proof of holding a key.

======== ========================== ================= ==========================================
text     typ                        signer, alg       claims
======== ========================== ================= ==========================================
stops    dslice-stops+jwt           the CA, ES256     iat, owners (identities)
proof    dslice-request-proof+jwt   the key, PS256    iss (user), aud (plc), iat
======== ========================== ================= ==========================================

Neither carries a certificate: the reader already has the one key that may have signed.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact, serialize_compact

from plc.client.values import PLC, StopList
from trust.certificates import CertificateKey
from trust.errors import Code, Refusal
from trust.identity import Identity

STOPS, PROOF = "dslice-stops+jwt", "dslice-request-proof+jwt"
# A replayed proof shows its holder's request and certificate to whoever broke TLS: the bound is for tidiness only.
PROOF_SECONDS = 3600


def key_sha256(public_key: CertificateKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex: how a key is named."""
    return sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign_stops(owners: Sequence[Identity], key: EllipticCurvePrivateKey, now: datetime) -> str:
    claims = {"iat": int(now.timestamp()), "owners": [owner.uri for owner in owners]}
    return _sign(STOPS, "ES256", claims, ECKey.import_key(key))


def read_stops(token: str, key: object) -> StopList:
    """The stop list that the root's public key signed; Refusal(NOT_AUTHENTICATED) for any other."""
    if not isinstance(key, EllipticCurvePublicKey):
        raise _wrong("the stop list is not signed by plc's CA; fetch it again")
    try:
        claims = _open(token, STOPS, "ES256", ECKey.import_key(key))
        owners = frozenset(Identity.parse(uri) for uri in claims["owners"])
        return StopList(datetime.fromtimestamp(claims["iat"], UTC), owners)
    except (JoseError, ValueError, KeyError, TypeError, Refusal) as error:
        raise _wrong("the stop list is not signed by plc's CA; fetch it again") from error


def sign_proof(user: Identity, key: RSAPrivateKey, now: datetime) -> str:
    claims = {"iss": user.uri, "aud": PLC.uri, "iat": int(now.timestamp())}
    return _sign(PROOF, "PS256", claims, RSAKey.import_key(key))


def check_proof(token: str, user: Identity, key: RSAPublicKey, now: datetime) -> None:
    """Refusal(NOT_AUTHENTICATED) unless the holder of ``key`` made this for ``user`` and plc, within the hour."""
    try:
        claims = _open(token, PROOF, "PS256", RSAKey.import_key(key))
    except (JoseError, ValueError, TypeError) as error:
        raise _wrong("this is not signed with the key of the request; use the folder of that key") from error
    if claims.get("iss") != user.uri or claims.get("aud") != PLC.uri:
        raise _wrong("this proof is for somebody else; run plkeygen --refresh again")
    made = claims.get("iat")
    if type(made) is not int or abs(now.timestamp() - made) > PROOF_SECONDS:
        raise _wrong("this proof is too old or from the future; check your clock and run plkeygen --refresh again")


def _sign(typ: str, algorithm: str, claims: dict[str, Any], key: ECKey | RSAKey) -> str:
    header = {"alg": algorithm, "typ": typ}
    return serialize_compact(header, json.dumps(claims), key, registry=JWSRegistry(algorithms=[algorithm]))


def _open(token: str, typ: str, algorithm: str, key: ECKey | RSAKey) -> dict[str, Any]:
    opened = deserialize_compact(token, key, registry=JWSRegistry(algorithms=[algorithm]))
    if opened.headers() != {"alg": algorithm, "typ": typ}:
        raise ValueError("another kind of document")
    claims = json.loads(opened.payload)
    if not isinstance(claims, dict):
        raise ValueError("no claims")
    return claims


def _wrong(reason: str) -> Refusal:
    return Refusal(Code.NOT_AUTHENTICATED, reason)
