"""Identities: who somebody is, as the one URI SAN of a certificate (docs/protocol.md, "Identities")."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from trust.errors import Code, Refusal

PREFIX = "spiffe://planet-lab/"


class Role(StrEnum):
    """What somebody is; it decides the key type, the shape of the name and which calls are open."""

    USER = "user"
    AGENT = "agent"
    NODE = "node"
    SVM = "svm"
    PLC = "plc"


# RFC 5322 atoms, without the characters that a URI's path would have to escape: what is compared is the URI's text.
_ATOM = r"[a-z0-9!$&'*+=_~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_SERVICE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """A role and a name that fits it: a lower-case e-mail for users, ``[a-z0-9.-]`` (63 at most) for services.

    Raises Refusal(BAD_INPUT) for a name that does not fit, so an ``Identity`` that exists is well-formed.
    """

    role: Role
    name: str

    def __post_init__(self) -> None:
        if self.role is Role.USER:
            if not _EMAIL.fullmatch(self.name):
                raise Refusal(Code.BAD_INPUT, f"{_shown(self.name)} is not a lower-case e-mail address")
        elif not _SERVICE.fullmatch(self.name):
            raise Refusal(
                Code.BAD_INPUT, f"{_shown(self.name)} is not a service name: a-z, 0-9, '.' and '-', at most 63"
            )

    @classmethod
    def user(cls, email: str) -> Self:
        """The identity of an e-mail address as somebody typed it: upper and lower case are the same person."""
        # Checked before lowering: 'K' (the Kelvin sign) lowers to an ASCII 'k', hence to somebody else.
        if not email.isascii():
            raise Refusal(Code.BAD_INPUT, f"{_shown(email)} is not an e-mail address in plain ASCII")
        return cls(Role.USER, email.strip().lower())

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The identity that ``spiffe://planet-lab/<role>/<name>`` states, letter by letter."""
        role, _, name = uri.removeprefix(PREFIX).partition("/")
        if not uri.startswith(PREFIX) or role not in set(Role):
            raise Refusal(Code.BAD_INPUT, f"{_shown(uri)} is not an identity: expected {PREFIX}<role>/<name>")
        return cls(Role(role), name)

    @property
    def uri(self) -> str:
        return f"{PREFIX}{self.role}/{self.name}"

    def __str__(self) -> str:
        return self.uri


def _shown(text: str) -> str:
    """Foreign text as it may stand in a reason: quoted, escaped, short."""
    return ascii(text[:80])
