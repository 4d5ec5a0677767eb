"""The one expected error of the project.

Servers turn a ``Refusal`` into ``application/problem+json`` (RFC 9457), clients turn that back into a ``Refusal``,
and the command line prints its reason. Everything else that is raised is a surprise.
"""

from collections.abc import Mapping
from enum import StrEnum

MAX_TEXT = 200
"""Characters of foreign text that are shown (docs/protocol.md, "Calls")."""


class Code(StrEnum):
    """Stable names of what went wrong (docs/protocol.md, "Codes"): part of the wire format and of ``--json``."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    WRONG_CERTIFICATE = "wrong-certificate"
    OVER_CAPACITY = "over-capacity"
    DISK_FULL = "disk-full"
    TICKET_EXPIRED = "ticket-expired"
    STALE_GENERATION = "stale-generation"
    NOT_FOUND = "not-found"
    NOT_OWNER = "not-owner"
    BUSY = "busy"
    TOO_FEW_NODES = "too-few-nodes"
    NAME_TAKEN = "name-taken"
    REVOKED = "revoked"
    CRL_STALE = "crl-stale"
    BAD_INPUT = "bad-input"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHENTICATED = "not-authenticated"
    INTERNAL = "internal"
    CANCELLED = "cancelled"


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    """No, and why: ``reason`` is one line, what happened and what to do next; ``detail`` are JSON-able extras.

    A reason of several lines is joined into one, because it is shown as one and some of it may come from elsewhere.
    """

    code: Code
    reason: str
    detail: Mapping[str, object]

    def __init__(self, code: Code, reason: str, /, **detail: object) -> None:
        self.code = code
        self.reason = " ".join(reason.split())
        self.detail = detail
        super().__init__(code, self.reason)

    def __str__(self) -> str:
        return self.reason


def printable(text: str, most: int | None = MAX_TEXT) -> str:
    """Foreign text fit for a terminal: one line, no control characters, at most so long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]
