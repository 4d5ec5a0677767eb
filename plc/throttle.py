"""How often one may try: failures counted by subject, and a delay that grows with them.

An attempt is counted before it is judged, so that a thousand guesses at once are a thousand attempts; a success
takes its own back. Counts live in the database: a restart, or a second plc, forgets nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from models.plc import throttle
from trust.errors import Code, Refusal

FORGOTTEN_SECONDS = 3600  # without a further failure


@dataclass(frozen=True, slots=True)
class Rule:
    """``free`` attempts without delay, then ``first`` seconds, doubling up to ``longest``."""

    free: int
    first: int
    longest: int

    def delay(self, failures: int) -> int:
        """Seconds to wait after this many failures."""
        over = failures - self.free
        return 0 if over < 0 else int(min(self.first * 2 ** min(over, 30), self.longest))


ACCOUNT = Rule(free=5, first=15, longest=900)
# Many people may stand behind one address.
ADDRESS = Rule(free=20, first=15, longest=900)
SIGN_UP = Rule(free=50, first=60, longest=3600)


def attempt(connection: Connection, subject: str, rule: Rule, now: datetime) -> None:
    """Count an attempt, or refuse it: NOT_AUTHENTICATED with ``retry_after`` seconds."""
    blocked = connection.scalar(select(throttle.c.blocked_until).where(throttle.c.subject == subject).with_for_update())
    if blocked is not None and blocked > now:
        seconds = int((blocked - now).total_seconds()) + 1
        raise Refusal(
            Code.NOT_AUTHENTICATED, f"too many failed attempts: wait {seconds} s and try again", retry_after=seconds
        )
    counted = insert(throttle).values(subject=subject, failures=1, last_at=now, blocked_until=now)
    recent = throttle.c.last_at > now - timedelta(seconds=FORGOTTEN_SECONDS)
    failures = connection.scalar(
        counted.on_conflict_do_update(
            index_elements=[throttle.c.subject],
            set_={"failures": case((recent, throttle.c.failures + 1), else_=1), "last_at": now},
        ).returning(throttle.c.failures)
    )
    until = now + timedelta(seconds=rule.delay(failures or 1))
    connection.execute(update(throttle).where(throttle.c.subject == subject).values(blocked_until=until))


def forget(connection: Connection, subject: str) -> None:
    """After a success: all of the subject's failures."""
    connection.execute(delete(throttle).where(throttle.c.subject == subject))


def take_back(connection: Connection, subject: str, now: datetime) -> None:
    """After a success: this attempt only, where others share the subject."""
    connection.execute(
        update(throttle)
        .where(throttle.c.subject == subject)
        .values(failures=func.greatest(throttle.c.failures - 1, 0), blocked_until=now)
    )


def purge(connection: Connection, now: datetime) -> None:
    """Drop what no longer counts."""
    old = (throttle.c.last_at < now - timedelta(seconds=FORGOTTEN_SECONDS)) & (throttle.c.blocked_until < now)
    connection.execute(delete(throttle).where(old))
