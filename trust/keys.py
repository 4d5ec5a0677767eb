"""Private keys as PEM, without what reads certificates: that takes a sixth of a command's start (ADR 57)."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from trust.errors import Code, Refusal

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
UNREADABLE_KEY = (ValueError, TypeError, UnsupportedAlgorithm)
MAX_PEM = 64 * 1024


def key_from_pem(pem: str | bytes) -> PrivateKey:
    """The RSA or ECDSA private key in a PEM text; Refusal(BAD_INPUT) for anything else, or one with a password."""
    try:
        # One's own file, mode 0600: proving its primes anew takes 90 ms of every command's start (measured).
        key = load_pem_private_key(pem_bytes(pem), password=None, unsafe_skip_rsa_key_validation=True)
    except UNREADABLE_KEY as error:
        raise Refusal(Code.BAD_INPUT, "not a PEM private key without a password; make one with plkeygen") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Refusal(Code.BAD_INPUT, "a private key here is RSA or ECDSA; make one with plkeygen")
    return key


def pem_bytes(pem: str | bytes) -> bytes:
    """PEM as bytes; what is no PEM at all becomes bytes that no parser takes."""
    data = pem.encode() if isinstance(pem, str) else pem
    return data if len(data) <= MAX_PEM else b""
