"""Who did what to whom, append-only: what an operator reads after something went wrong."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from models.plc import event


def note(connection: Connection, now: datetime, who: str, what: str, whom: str, detail: str = "") -> None:
    """One line, in the transaction of what it tells of. Never a secret."""
    connection.execute(event.insert().values(at=now, who=who, what=what, whom=whom, detail=detail))


def about(connection: Connection, whom: str) -> Sequence[Row[Any]]:
    """Everything that was done to one account or service, the oldest first."""
    return connection.execute(select(event).where(event.c.whom == whom).order_by(event.c.id)).all()
