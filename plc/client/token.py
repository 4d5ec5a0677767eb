"""Enrolment tokens as text: `dslice-ROLE-NAME-SECRET-CA`, one printable line (plc/enrolment.py makes them)."""

import re
from dataclasses import dataclass
from typing import Self

from trust.errors import Code, Refusal
from trust.identity import Identity, Role

_TOKEN = re.compile(r"dslice-([a-z]+)-(.+)-([a-z2-7]{26})-([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Token:
    """Whom it lets in, the secret (128 bits, base32), and the SHA-256 of the CA that it may be shown to."""

    identity: Identity
    secret: str
    ca_fingerprint: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Refusal(BAD_INPUT); the text itself never stands in the reason."""
        found = _TOKEN.fullmatch(text.strip())
        if found is None or found[1] not in set(Role):
            raise Refusal(Code.BAD_INPUT, "this is not an enrolment token; copy the whole line of dslice plc token")
        return cls(Identity(Role(found[1]), found[2]), found[3], found[4])

    def __str__(self) -> str:
        return f"dslice-{self.identity.role}-{self.identity.name}-{self.secret}-{self.ca_fingerprint}"

    def __repr__(self) -> str:
        return f"Token({self.identity})"  # secrets stay out of logs
