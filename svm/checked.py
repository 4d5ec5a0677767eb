"""The user's key, certificate and root, looked at as a whole once for each change of them (ADR 57).

What reads certificates takes a sixth of a command's time to load. So a command that finds the three files as they were
when an earlier one had looked at them believes what that one wrote beside them.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rpc.credentials import Credentials
from svm.files import write_private
from trust.errors import Refusal
from trust.identity import Identity

FOUND = "checked.json"


@dataclass(frozen=True, slots=True)
class Own:
    """The user's certificate, as far as commands need it: whose it is, its end, and itself (DER)."""

    identity: Identity
    not_valid_after_utc: datetime
    der: bytes

    def public_bytes(self, encoding: object, /) -> bytes:
        """As `trust.jws.Signer` has it: always DER."""
        del encoding
        return self.der


def checked(credentials: Credentials) -> Own:
    """What the certificate says, which is the key's and has a root beside it.

    Raises Refusal(NOT_AUTHENTICATED) for a file that is missing, unreadable or does not belong to the others.
    """
    path, digest = credentials.directory / FOUND, _digest(credentials)
    with suppress(OSError, ValueError, KeyError, TypeError, Refusal):
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["digest"] == digest:
            end = datetime.fromisoformat(known["end"])
            return Own(Identity.parse(known["identity"]), end, bytes.fromhex(known["certificate"]))
    own = look(credentials)
    _keep(path, digest, own)
    return own


def look(credentials: Credentials) -> Own:
    """The same, from the files alone."""
    from cryptography.hazmat.primitives.serialization import Encoding

    credentials.pair()
    _ = credentials.root
    certificate = credentials.certificate
    return Own(credentials.identity, certificate.not_valid_after_utc, certificate.public_bytes(Encoding.DER))


def _digest(credentials: Credentials) -> str:
    parts = (*credentials.files(), credentials.root_pem.encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _keep(path: Path, digest: str, own: Own) -> None:
    """What cannot be written is looked for again by the next command."""
    known = {"identity": own.identity.uri, "end": own.not_valid_after_utc.isoformat(), "certificate": own.der.hex()}
    with suppress(Refusal):
        write_private(path, json.dumps({"digest": digest, **known}) + "\n")
