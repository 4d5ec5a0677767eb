"""FIDO keys as OpenSSH has them (PROTOCOL.u2f): their wire format, and what a signature of one must say.

The key lives in a device; what it signs is its application, flags, a counter and the message, so that a signature shows
whether somebody touched the device.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256

ED25519 = "sk-ssh-ed25519@openssh.com"
ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
SECURITY_KEY_TYPES = (ED25519, ECDSA)
USER_PRESENT = 0x01
_CURVE = b"nistp256"
_APPLICATION = b"ssh:"  # what a web site's keys never begin with


@dataclass(frozen=True, slots=True)
class SecurityKey:
    """The public half of a FIDO key. `application`: what its device keeps it for, `ssh:` unless chosen otherwise."""

    type: str
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
    application: bytes

    @classmethod
    def parse(cls, blob: bytes) -> "SecurityKey":
        """From the wire format, taken only in the one form in which it is written. Raises ValueError."""
        kind, *fields = _strings(blob)
        if kind == ED25519.encode() and len(fields) == 2:
            raw, application = fields
            key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey = ed25519.Ed25519PublicKey.from_public_bytes(raw)
        elif kind == ECDSA.encode() and len(fields) == 3 and fields[0] == _CURVE:
            _, raw, application = fields
            if raw[:1] != b"\x04":
                raise ValueError("a compressed point")
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        else:
            raise ValueError("no FIDO key")
        if not application.startswith(_APPLICATION):
            raise ValueError("not made for SSH")
        return cls(kind.decode(), key, application)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this is the key's signature of `message`, made while somebody touched the device.

        `signature` is in SSH's wire format: type, inner signature, then flags (a byte) and counter (four).
        """
        try:
            kind, rest = _string(signature)
            inner, tail = _string(rest)
            if kind != self.type.encode() or len(tail) != 5 or not tail[0] & USER_PRESENT:
                return False
            signed = hashlib.sha256(self.application).digest() + tail + hashlib.sha256(message).digest()
            self._verify(inner, signed)
        except (ValueError, InvalidSignature):
            return False
        return True

    def _verify(self, inner: bytes, signed: bytes) -> None:
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            self.key.verify(inner, signed)
            return
        r, s = (int.from_bytes(part, "big") for part in _strings(inner))
        self.key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


def _strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        one, data = _string(data)
        found.append(one)
    return found or [b""]


def _string(data: bytes) -> tuple[bytes, bytes]:
    """A string of RFC 4251, and what stands behind it. Raises ValueError."""
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < 4 or len(data) < end:
        raise ValueError("cut off")
    return data[4:end], data[end:]
