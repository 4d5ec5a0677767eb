"""Slice private keys at rest: AES-256-GCM under a key from a file that the database never sees."""

import os
import secrets
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rpc.files import create_file
from trust.errors import Code, Refusal

KEY_BYTES = 32
NONCE_BYTES = 12
MODE = 0o600


class Seal:
    """Seals and opens with one key. What is sealed for one slice cannot be opened for another."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def from_file(cls, path: Path) -> "Seal":
        """The key in this file (64 hex digits); made when absent, whole or not at all, by whichever process is first.

        Raises Refusal(BAD_INPUT) for a file that holds something else.
        """
        if not path.exists():
            _make(path)
        try:
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise Refusal(Code.BAD_INPUT, f"{path} is not a slice key file: it must hold {2 * KEY_BYTES} hex digits")
        return cls(key)

    def seal(self, slice_row: UUID, private_key: str) -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, private_key.encode(), slice_row.bytes)

    def open(self, slice_row: UUID, sealed: bytes) -> str:
        """The private key. Raises Refusal(INTERNAL) when this is not the key file it was sealed under."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], slice_row.bytes).decode()
        except InvalidTag:
            raise Refusal(
                Code.INTERNAL, "the slice's private key does not open with this worker's slice key file; check it"
            ) from None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    create_file(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode(), MODE)
