"""Files that a passphrase seals: AES-256-GCM over pieces of 1 MiB, the key by scrypt (RFC 7914) from each file's salt.

    magic, salt (16 bytes), then for each piece its length (4 bytes, big-endian) and its ciphertext

A nonce is the piece's number (11 bytes) and whether it is the last, so that none can be left out, moved or added.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from trust.errors import Code, Refusal

MAGIC = b"dslice sealed 1\n"
SALT, PIECE = 16, 1 << 20
COST = 1 << 15  # 32 MiB, a tenth of a second


class SealedWriter:
    """What is written to it goes to `target`, sealed; `close` ends it, and leaves `target` open."""

    def __init__(self, target: BinaryIO, passphrase: str) -> None:
        salt = os.urandom(SALT)
        self._cipher = AESGCM(_key(passphrase, salt))
        self._target = target
        self._held = bytearray()
        self._number = 0
        target.write(MAGIC + salt)

    def write(self, data: bytes) -> int:
        self._held += data
        while len(self._held) > PIECE:  # one piece stays back: it may be the last
            self._put(bytes(self._held[:PIECE]), last=False)
            del self._held[:PIECE]
        return len(data)

    def close(self) -> None:
        self._put(bytes(self._held), last=True)
        self._held.clear()

    def _put(self, piece: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), piece, None)
        self._target.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1


def unsealed(source: BinaryIO, passphrase: str) -> Iterator[bytes]:
    """The pieces. Refusal: NOT_ALLOWED for another passphrase or a changed file, BAD_INPUT for no such file."""
    if source.read(len(MAGIC)) != MAGIC:
        raise Refusal(Code.BAD_INPUT, "this is no sealed file of a backup; name the folder that dslice backup made")
    cipher = AESGCM(_key(passphrase, source.read(SALT)))
    number, head = 0, source.read(4)
    while head:
        sealed = source.read(int.from_bytes(head, "big"))
        head = source.read(4)
        try:
            yield cipher.decrypt(_nonce(number, last=not head), sealed, None)
        except InvalidTag as error:
            raise Refusal(Code.NOT_ALLOWED, "wrong passphrase, or the backup was changed; try another one") from error
        number += 1


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=COST, r=8, p=1).derive(passphrase.encode())
