"""svmd and its workers are of one version: svmd brings the tables to it while no worker runs; workers wait for that.

A worker knows the states and columns of its own version alone; one that met others would fail steps that are well.
"""

import logging
from threading import Event

from sqlalchemy import Connection, Engine

from lifecycle.presence import present
from models.database import engine, migrate, outdated
from models.outage import in_one_line
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.5


def upgrade(url: str) -> None:
    """For svmd, at its start: the tables as this version has them.

    Raises Refusal: BUSY while workers of an earlier version are at work; as ``models.outage.in_one_line``.
    """
    found = engine(url, connections=1)
    try:
        with in_one_line("svm"), found.connect() as connection:
            workers = present(connection) if outdated(connection, "svm") else 0
    finally:
        found.dispose()
    if workers:
        which = "1 worker" if workers == 1 else f"{workers} workers"
        still, them = ("runs", "it") if workers == 1 else ("run", "them")
        raise Refusal(
            Code.BUSY,
            f"{which} of an earlier version still {still}: stop {them}, then start svmd and workers of this version"
            f" (docs/operating.md, New versions)",
        )
    migrate(url, "svm")


def wait_for_tables(database: Engine, stop: Event) -> bool:
    """For a worker, at its start: until svmd has made the tables as this version has them; False when told to stop.

    Raises Refusal: BAD_INPUT for tables of a newer version; as ``models.outage.in_one_line``.
    """
    told = False
    while not _are_there(database):
        if not told:
            log.warning("svm's tables are of an earlier version: waiting for svmd of this version to bring them up")
            told = True
        if stop.wait(WAIT_SECONDS):
            return False
    return True


def require_no_newer(connection: Connection) -> None:
    """For a worker that holds its lock: from now on svmd brings up no tables, but it may have while nobody held one.

    Raises Refusal: BAD_INPUT for tables of a newer version.
    """
    with in_one_line("svm"):
        outdated(connection, "svm")


def _are_there(database: Engine) -> bool:
    with in_one_line("svm"), database.connect() as connection:
        return outdated(connection, "svm") is False
