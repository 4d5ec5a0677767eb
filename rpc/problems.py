"""Refusals on the wire: ``application/problem+json`` (RFC 9457), both ways.

Importing this needs no web framework: the command line reads problems too.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from fastapi import FastAPI

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:dslice:problem:"
MAX_REASON = 200  # characters of foreign text that are shown
MAX_COMPLAINTS = 3
STANDARD = frozenset({"type", "title", "status", "code", "detail", "instance"})

STATUS: Mapping[Code, int] = {
    Code.BAD_INPUT: 400,
    Code.NOT_AUTHENTICATED: 401,
    Code.REVOKED: 401,
    Code.NOT_ALLOWED: 403,
    Code.NOT_OWNER: 403,
    Code.NOT_FOUND: 404,
    Code.BUSY: 409,
    Code.CANCELLED: 409,
    Code.NAME_TAKEN: 409,
    Code.STALE_GENERATION: 409,
    Code.TOO_FEW_NODES: 409,
    Code.TICKET_EXPIRED: 410,
    Code.INTERNAL: 500,
    Code.UNREACHABLE: 502,
    Code.WRONG_CERTIFICATE: 502,
    Code.CRL_STALE: 503,
    Code.OVER_CAPACITY: 503,
    Code.TIMEOUT: 504,
}

log = logging.getLogger(__name__)


def to_problem(refusal: Refusal, status: int | None = None) -> dict[str, object]:
    """The JSON object of a refusal; its ``detail`` becomes further members, which never hide the standard ones."""
    return {
        **refusal.detail,
        "type": f"{TYPE}{refusal.code}",
        "title": refusal.code.replace("-", " "),
        "status": status or STATUS[refusal.code],
        "code": str(refusal.code),
        "detail": refusal.reason,
    }


def from_problem(status: int, body: object) -> Refusal:
    """The refusal in an answer that is no success; what makes no sense becomes ``internal``.

    The text is foreign: without control characters and at most 200 characters long.
    """
    problem = body if isinstance(body, dict) else {}
    code, reason = problem.get("code"), problem.get("detail")
    if not isinstance(code, str) or code not in set(Code) or not isinstance(reason, str):
        return Refusal(_code_of(status), f"the server answered {status} without a reason", status=status)
    extras = {key: value for key, value in problem.items() if isinstance(key, str) and key not in STANDARD}
    return Refusal(Code(code), printable(reason), **extras)


def printable(text: str) -> str:
    """Foreign text as it may be shown on a terminal: one line, 200 characters at most."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(clean.split())[:MAX_REASON]


def install(app: "FastAPI") -> None:
    """Have every error of ``app`` leave as a problem, and no internals with it."""
    raise NotImplementedError


def _code_of(status: int) -> Code:
    known = {401: Code.NOT_AUTHENTICATED, 403: Code.NOT_ALLOWED, 404: Code.NOT_FOUND}
    if status in known:
        return known[status]
    return Code.BAD_INPUT if 400 <= status < 500 else Code.INTERNAL
