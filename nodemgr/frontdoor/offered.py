"""A public key as a client offers it: compared as bytes, and read only where a signature by it counts.

paramiko reads every offered key, a stranger's too, and its reader takes seconds of the interpreter for a number of 256
KiB. Of the keys that may log in to a slice one is chosen by its bytes first, so that strangers have nothing read.
"""

from __future__ import annotations

import paramiko
from paramiko.message import Message

from nodemgr.frontdoor.securitykeys import OfferedSecurityKey
from trust.securitykeys import SECURITY_KEY_TYPES

# Bytes. An RSA key of 16,384 bits, the largest that OpenSSL checks, signs with 2 KiB.
MAX_SIGNATURE = 4 << 10


class OfferedKey:
    """What paramiko's authentication asks of a key, for one that need not be a key at all.

    Args:
        algorithm: the signature algorithm that the client named; one that this server offers, or no key is found.
        blob: the key in wire format, as the client sent it.
    """

    def __init__(self, algorithm: str, blob: bytes) -> None:
        self._algorithm = algorithm
        self._blob = blob

    def asbytes(self) -> bytes:
        return self._blob

    def get_name(self) -> str:
        return self._algorithm

    def verify_ssh_sig(self, data: bytes, signature: Message) -> bool:
        """Whether `signature` is this key's of `data`; asked only once the key may log in."""
        if len(signature.asbytes()) > MAX_SIGNATURE:
            return False
        try:
            return self._read().verify_ssh_sig(data, signature)
        except Exception:  # noqa: BLE001 whatever a key or signature does to the parsers, it is none
            return False

    def _read(self) -> paramiko.PKey:
        if self._algorithm in SECURITY_KEY_TYPES:
            return OfferedSecurityKey(self._blob)
        kind: type[paramiko.PKey] = paramiko.Transport._key_info[self._algorithm]  # type: ignore[attr-defined]
        return kind(Message(self._blob))
