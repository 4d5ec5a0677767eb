"""Who did what to whom: what an operator reads after something went wrong, and what plc's log says of it."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from models.plc import event
from trust.errors import Code, Refusal

PER_HOUR = 500  # changes that one user may make
BACK = 500  # ids: of changes at once those with the higher id may be committed first
TAKES_AWAY = ("remove-key", "revoke")  # always possible, and no more of them than of what was given before

log = logging.getLogger(__name__)


def note(connection: Connection, now: datetime, who: str, what: str, whom: str, detail: str = "") -> None:
    """One line, in the transaction of what it tells of. Never a secret.

    Raises Refusal(OVER_CAPACITY) when a user did too much within the hour: what he did is undone with it.
    """
    if "@" in who and what not in TAKES_AWAY:
        lately = event.c.who == who, event.c.at > now - timedelta(hours=1)
        if (connection.scalar(select(func.count()).select_from(event).where(*lately)) or 0) >= PER_HOUR:
            raise Refusal(Code.OVER_CAPACITY, f"{PER_HOUR} changes within an hour are enough for {who}; try later")
    connection.execute(event.insert().values(at=now, who=who, what=what, whom=whom, detail=detail))


def note_all(connection: Connection, now: datetime, who: str, what: str, whom: Iterable[tuple[str, str]]) -> None:
    """A line for each (whom, detail) of what plc's operator did to many at once."""
    rows = [{"at": now, "who": who, "what": what, "whom": one, "detail": detail} for one, detail in whom]
    connection.execute(event.insert(), rows)


def about(connection: Connection, whom: str) -> Sequence[Row[Any]]:
    """Everything that was done to one account or service, the oldest first."""
    return connection.execute(select(event).where(event.c.whom == whom).order_by(event.c.id)).all()


class Teller:
    """Has the log say what is new in the journal, whoever did it: plc's callers, or its operator in another process."""

    def __init__(self, connection: Connection) -> None:
        """What is there already is not told."""
        self._newest = connection.scalar(select(func.max(event.c.id))) or 0
        self._told = {row.id for row in self._lately(connection)}

    def tell(self, connection: Connection) -> None:
        """A line for each that was not told before."""
        found = self._lately(connection)
        for row in found:
            if row.id not in self._told:
                log.info("%s: %s", row.what, row.whom, extra={"by": row.who, "detail": row.detail, "at": row.at})
        self._told = {row.id for row in found}
        self._newest = max((self._newest, *self._told))

    def _lately(self, connection: Connection) -> Sequence[Row[Any]]:
        return connection.execute(select(event).where(event.c.id > self._newest - BACK).order_by(event.c.id)).all()
