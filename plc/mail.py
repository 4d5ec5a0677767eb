"""E-mail: an outbox in the database, and the thread that empties it through SMTP.

A letter is written in the transaction that causes it. A mail server that is down loses nothing: tries go on, further
and further apart, until it takes the letter, says that it never will (a 5xx for this recipient or text), or has put off
this one for days (RFC 5321, 4.5.4.1). A crash between sending and recording sends again, with the same Message-ID.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from threading import Event
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, update

from models.plc import letter
from rpc.background import thread
from rpc.fate import Fate, pause
from rpc.smtp import TIMEOUT, hand_over, message
from trust.clock import Clock

AT_ONCE = 20  # letters over one connection to the relay
CLAIM_SECONDS = 120  # nobody else takes a letter for this long
LONGEST_DAYS = 5  # after which a letter that the server still puts off is given up
IDLE_SECONDS = 2  # between two looks into the outbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail to one person, plain text."""

    recipient: str
    subject: str
    body: str


def post(connection: Connection, written: Letter, now: datetime) -> None:
    """Into the outbox, in the caller's transaction."""
    connection.execute(
        letter.insert().values(
            recipient=written.recipient,
            subject=" ".join(written.subject.split()),
            body=written.body,
            written_at=now,
            next_try_at=now,
        )
    )


def was_posted(connection: Connection, written: Letter, since: datetime) -> bool:
    """Whether the same person was written the same since then."""
    same = letter.c.recipient == written.recipient, letter.c.subject == written.subject, letter.c.written_at > since
    return connection.execute(select(letter.c.id).where(*same).limit(1)).one_or_none() is not None


def deliver(engine: Engine, smtp_url: str, sender: str, clock: Clock) -> int:
    """Send what is due; how many letters were tried."""
    with engine.begin() as connection:
        due = _claim(connection, clock.now())
    if due:
        for row, fate, reason in hand_over(smtp_url, [(row, partial(_message, row, sender)) for row in due]):
            with engine.begin() as connection:
                _record(connection, row, fate, reason, clock.now())
    return len(due)


class Postman:
    """The background thread; without an SMTP server letters wait in the outbox."""

    def __init__(self, engine: Engine, smtp_url: str, sender: str, clock: Clock) -> None:
        self._arguments = (engine, smtp_url, sender, clock)
        self._stop = Event()
        self._thread = thread(self._run, "postman")

    def start(self) -> None:
        if self._arguments[1]:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT + 5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                tried = deliver(*self._arguments)
            except Exception:  # whatever it was, the next letters must go out
                log.exception("the outbox could not be emptied")
                tried = 0
            if tried < AT_ONCE:
                self._stop.wait(IDLE_SECONDS)


def _claim(connection: Connection, now: datetime) -> list[Row[Any]]:
    waiting = letter.c.sent_at.is_(None) & letter.c.given_up_at.is_(None) & (letter.c.next_try_at <= now)
    due = select(letter.c.id).where(waiting).order_by(letter.c.id).limit(AT_ONCE).with_for_update(skip_locked=True)
    claimed = (
        update(letter)
        .where(letter.c.id.in_(due.scalar_subquery()))
        .values(attempts=letter.c.attempts + 1, next_try_at=now + timedelta(seconds=CLAIM_SECONDS))
        .returning(letter)
    )
    return sorted(connection.execute(claimed), key=lambda row: int(row.id))


def _message(row: Row[Any], sender: str) -> EmailMessage:
    id = f"plc-letter-{row.id}-{int(row.written_at.timestamp())}@{sender.rpartition('@')[2]}"
    return message(sender, row.recipient, row.subject, row.body, id, row.written_at)


def _record(connection: Connection, row: Row[Any], fate: Fate, reason: str, now: datetime) -> None:
    """What the mail server said of one letter; a claim that lapsed meanwhile changes nothing of it."""
    mine = update(letter).where(letter.c.id == row.id)
    if fate is Fate.SENT:
        connection.execute(mine.values(sent_at=now, last_error=None))
    elif fate is Fate.UNTRIED:
        _try_later(connection, row, reason, now)
    elif fate is Fate.NEVER or now - row.written_at > timedelta(days=LONGEST_DAYS):
        log.warning("letter %d to %s is given up: %s", row.id, row.recipient, reason)
        connection.execute(mine.values(given_up_at=now, last_error=reason))
    else:
        log.warning("letter %d to %s is tried again later: %s", row.id, row.recipient, reason)
        _try_later(connection, row, reason, now)


def _try_later(connection: Connection, row: Row[Any], reason: str, now: datetime) -> None:
    """Unless it was sent or given up after all."""
    waits = letter.c.sent_at.is_(None) & letter.c.given_up_at.is_(None)
    again = {"next_try_at": now + timedelta(seconds=pause(row.attempts)), "last_error": reason}
    connection.execute(update(letter).where(letter.c.id == row.id, waits).values(**again))
