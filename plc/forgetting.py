"""What ended long ago is forgotten, or plc's tables would only grow."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, delete, exists, func, or_, select

from models.plc import account, certificate, certificate_request, event, letter, slice_name, usage
from plc.client.values import AccountState
from plc.nodes import forget_drains
from plc.removals import forget_removals

SIGN_UP_DAYS = 30  # that a request for an account waits for a PI
NAME_DAYS = 1  # that a free name remembers its last slice
AT_ONCE = 10_000  # rows of one table in one round


def forget(connection: Connection, history_days: int, now: datetime) -> None:
    """Certificates, their requests, letters and events that ended before `history_days`; sign-ups; names that are free.

    A certificate that has ended can neither be used nor revoked; its request goes before it.
    """
    forget_drains(connection, now)
    forget_removals(connection, now)
    old = now - timedelta(days=history_days)
    _drop(connection, certificate_request.c.id, certificate_request.c.decided_at < old)
    asked_for = exists().where(certificate_request.c.serial == certificate.c.serial)
    _drop(connection, certificate.c.serial, (certificate.c.not_after < old) & ~asked_for)
    ended = or_(letter.c.sent_at.is_not(None), letter.c.given_up_at.is_not(None))
    _drop(connection, letter.c.id, (letter.c.written_at < old) & ended)
    _drop(connection, event.c.id, event.c.at < old)
    _drop(connection, usage.c.id, func.coalesce(usage.c.ended, usage.c.bound) < old)
    waited = account.c.asked_at < now - timedelta(days=SIGN_UP_DAYS)
    _drop(connection, account.c.id, (account.c.state == AccountState.REQUESTED) & waited)
    free = func.coalesce(slice_name.c.held_until, slice_name.c.released_at) < now - timedelta(days=NAME_DAYS)
    _drop(connection, slice_name.c.name, slice_name.c.released_at.is_not(None) & free)


def _drop(connection: Connection, key: Column[Any], which: ColumnElement[bool]) -> None:
    oldest = select(key).where(which).limit(AT_ONCE)
    connection.execute(delete(key.table).where(key.in_(oldest.scalar_subquery())))
