"""What plc, agent and svmd say when PostgreSQL is away, or not as they need it: to callers, and to their operator."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rpc import problems
from rpc.health import Look
from trust.errors import Code, Refusal, printable

if TYPE_CHECKING:  # commands that ask the database once have no use for the web
    from fastapi import FastAPI, Request, Response

log = logging.getLogger(__name__)


def say_when_away(app: "FastAPI", who: str) -> None:
    """Have every request that finds no database, or one too busy, refused with UNREACHABLE in the name of `who`."""
    for error in (OperationalError, PoolTimeoutError):
        app.add_exception_handler(error, partial(_without_database, who))


async def _without_database(who: str, request: "Request", error: Exception) -> "Response":
    log.error("no database for %s %s: %s", request.method, printable(request.url.path), error)
    request.scope[problems.CODE] = Code.UNREACHABLE
    return problems.response(Refusal(Code.UNREACHABLE, f"{who}'s database does not answer; try again in a minute"))


def database(engine: Engine) -> Look:
    """For `/healthz`: whether it answers."""

    def look() -> str | None:
        try:
            with engine.connect() as connection:
                connection.execute(select(1))
        except (DBAPIError, PoolTimeoutError):
            return "the database does not answer"
        return None

    return look


NO_TABLES = ("3F000", "42P01")  # no such schema, no such table
NO_RIGHT = "42501"
ROLES = {"svm": "svmd"}  # whose daemon is not called like its schema
MADE_BY = "deploy/lab/roles.sh makes roles, schemas and database"


@contextmanager
def in_one_line(schema: str) -> Iterator[None]:
    """At a start: a database that cannot be used becomes Refusal(BAD_INPUT or UNREACHABLE), which says what to do."""
    try:
        yield
    except _command_error() as error:  # alembic's only word for a revision that it does not have
        newer = f"schema {schema} was made by a newer version of dslice ({error}): install that one"
        raise Refusal(Code.BAD_INPUT, newer) from error
    except DBAPIError as error:
        state, said = getattr(error.orig, "sqlstate", None), _first_line(error)
        if state in NO_TABLES:
            raise Refusal(
                Code.BAD_INPUT,
                f"schema {schema} has no tables yet: dslice run {ROLES.get(schema, schema)} makes them at its start",
            ) from error
        if state == NO_RIGHT:
            owner = f"the role in DSLICE_DATABASE_URL must own schema {schema}"
            raise Refusal(Code.BAD_INPUT, f"{said}: {owner} ({MADE_BY})") from error
        if state is not None or not isinstance(error, OperationalError):
            raise
        raise Refusal(Code.UNREACHABLE, f"no database: {said}; correct DSLICE_DATABASE_URL ({MADE_BY})") from error


def _command_error() -> type[Exception]:
    """Imported when something is amiss: it takes alembic with it."""
    from alembic.util import CommandError

    return CommandError


def _first_line(error: DBAPIError) -> str:
    return printable(str(error.orig).partition("\n")[0])
