"""What plc, agent and svmd say while PostgreSQL is away: that they are, for whoever asks."""

import logging
from functools import partial

from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rpc import problems
from trust.errors import Code, Refusal, printable

log = logging.getLogger(__name__)


def say_when_away(app: FastAPI, who: str) -> None:
    """Have every request that finds no database, or one too busy, refused with UNREACHABLE in the name of `who`."""
    for error in (OperationalError, PoolTimeoutError):
        app.add_exception_handler(error, partial(_without_database, who))


async def _without_database(who: str, request: Request, error: Exception) -> Response:
    log.error("no database for %s %s: %s", request.method, printable(request.url.path), error)
    request.scope[problems.CODE] = Code.UNREACHABLE
    return problems.response(Refusal(Code.UNREACHABLE, f"{who}'s database does not answer; try again in a minute"))
