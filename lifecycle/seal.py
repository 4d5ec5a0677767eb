"""Secrets of slices and hooks at rest: AES-256-GCM under a key from a file that the database never sees."""

import hmac
import os
import secrets
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rpc.files import create_file
from trust.errors import Code, Refusal

KEY_FILE = "slice-key"  # in svmd's folder, where no setting names another
KEY_BYTES = 32
NONCE_BYTES = 12
MARK_BYTES = 16
MODE = 0o600


class Seal:
    """Seals and opens with one key. What is sealed for one row cannot be opened for another."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._signing = hmac.digest(key, b"dslice signs", "sha256")  # another key than the cipher's

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

    def seal(self, row: UUID, secret: str) -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), row.bytes)

    def open(self, row: UUID, sealed: bytes) -> str:
        """The secret. Raises Refusal(INTERNAL) when this is not the key file it was sealed under."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row.bytes).decode()
        except InvalidTag:
            raise Refusal(
                Code.INTERNAL,
                "a secret does not open with the file in DSLICE_SLICE_KEY_FILE; give svmd and each worker the file "
                "that it was sealed with",
            ) from None

    def mark(self, said: bytes) -> bytes:
        """What shows that somebody with this key said it: 16 bytes (HMAC-SHA256, cut as RFC 2104, 5 allows)."""
        return hmac.digest(self._signing, said, "sha256")[:MARK_BYTES]


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    create_file(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode(), MODE)
