"""A service whose PostgreSQL is away says so, and shows nothing of it."""

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.database import engine
from models.outage import say_when_away
from rpc.server import application, open_route
from tests.unit.rpc.asgi import ask


def service() -> FastAPI:
    app = application("plc")
    say_when_away(app, "plc")
    nowhere = engine("postgresql+psycopg://plc:a-secret@/plc?host=%2Fnowhere")

    @app.get("/away")
    @open_route
    def away() -> None:
        with nowhere.connect() as connection:
            connection.execute(text("SELECT 1"))

    @app.get("/busy")
    @open_route
    def busy() -> None:
        raise PoolTimeoutError("QueuePool limit of size 10 overflow 30 reached")

    return app


async def test_a_database_that_is_away_or_too_busy() -> None:
    app = service()
    for path in ("/away", "/busy"):
        answer = await ask(app, "GET", path)
        assert (answer.status, answer.body["code"]) == (502, "unreachable")
        assert answer.body["detail"] == "plc's database does not answer; try again in a minute"
        assert b"secret" not in answer.data
