"""Refusals on the wire: ``application/problem+json`` (RFC 9457), both ways.

Importing this needs no web framework, and no logging: the command line reads problems too.
"""

import errno
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trust.errors import Code, Refusal, printable

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:dslice:problem:"
MAX_COMPLAINTS = 3  # of one request's validation errors
_CURES = {"missing": "missing; give it", "extra_forbidden": "not taken here; leave it out"}  # by pydantic's type
CODE = "dslice.code"  # the key in the ASGI scope: the code of the refusal that was the answer
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
    Code.DISK_FULL: 507,
}


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


def to_bytes(refusal: Refusal, status: int | None = None) -> bytes:
    """The problem as it is sent; dates, UUIDs and the like in a refusal's ``detail`` become strings."""
    return json.dumps(to_problem(refusal, status), default=str).encode()


def from_problem(status: int, body: object) -> Refusal:
    """The refusal in an answer that is no success; one that gives no reason is judged by its status.

    The text is foreign: without control characters and at most 200 characters long.
    """
    problem = body if isinstance(body, dict) else {}
    code, reason = problem.get("code"), problem.get("detail")
    if not isinstance(code, str) or code not in set(Code) or not isinstance(reason, str):
        return Refusal(_code_of(status), f"the server answered {status} and gave no reason", status=status)
    extras = {key: value for key, value in problem.items() if isinstance(key, str) and key not in STANDARD}
    return Refusal(Code(code), printable(reason), **extras)


def install(app: "FastAPI") -> None:
    """Have every error of ``app`` leave as a problem, and no internals with it."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_middleware(Surprises)


class Surprises:
    """ASGI middleware: an exception that nobody expected is logged, and its caller learns only that there was one."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        started = False

        async def watched(message: "Message") -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if started or scope["type"] != "http":
                raise  # half an answer is out: the server breaks the connection, and logs
            await response(surprise(scope, error))(scope, receive, send)


def surprise(scope: "Scope", error: Exception) -> Refusal:
    """All that the caller learns of what nobody expected; the log has it."""
    import logging

    log = logging.getLogger(__name__)
    log.error("unexpected error in %s %s", scope["method"], printable(scope["path"]), exc_info=error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(Code.DISK_FULL, "the disk of the service is full; try again later, or tell its operator")
    return Refusal(Code.INTERNAL, "something went wrong in the service; its operator finds it in the log")


async def _on_refusal(request: "Request", refusal: Exception) -> "Response":
    assert isinstance(refusal, Refusal)  # noqa: S101 - registered for this type only
    request.scope[CODE] = refusal.code
    return response(refusal)


async def _on_invalid(request: "Request", error: Exception) -> "Response":
    from fastapi.exceptions import RequestValidationError

    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    request.scope[CODE] = Code.BAD_INPUT
    return response(Refusal(Code.BAD_INPUT, complaints(error.errors())))


async def _on_http_error(request: "Request", error: Exception) -> "Response":
    from starlette.exceptions import HTTPException

    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    return no_route(request.scope, error.status_code, error.headers, str(error.detail))


def no_route(
    scope: "Scope", status: int, headers: Mapping[str, str] | None = None, reason: str = "this is no call"
) -> "Response":
    """The answer to what is no call of the service; ``reason`` for other statuses than 404 and 405."""
    place = printable(f"{scope['method']} {scope['path']}")
    reasons = {404: f"there is no {place} here", 405: f"{place} is not a call of this service"}
    return response(Refusal(_code_of(status), reasons.get(status, printable(reason))), status, headers)


def complaints(errors: Sequence[Any]) -> str:
    """What pydantic found wrong, in one line and without the values, which may be secrets."""
    shown = [_complaint(error) for error in errors]
    more = f" (and {len(shown) - MAX_COMPLAINTS} more)" if len(shown) > MAX_COMPLAINTS else ""
    return printable("; ".join(shown[:MAX_COMPLAINTS])) + more


def _complaint(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "the body is not JSON"
    said = _CURES.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return f"{_place(error['loc'])}: {said}"


def _place(location: Sequence[Any]) -> str:
    """("body", "nodes", 3) is nodes.3; where a value stands is said only if it is not the body."""
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] == "body":
        parts = parts[1:]
    return ".".join(parts)


def response(refusal: Refusal, status: int | None = None, headers: Mapping[str, str] | None = None) -> "Response":
    """The refusal as an answer."""
    from starlette.responses import Response

    return Response(to_bytes(refusal, status), status or STATUS[refusal.code], headers, MEDIA_TYPE)


def _code_of(status: int) -> Code:
    known = {401: Code.NOT_AUTHENTICATED, 403: Code.NOT_ALLOWED, 404: Code.NOT_FOUND}
    if status in known:
        return known[status]
    return Code.BAD_INPUT if 400 <= status < 500 else Code.INTERNAL
