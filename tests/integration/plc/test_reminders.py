"""A certificate's end is told 14 and 3 days ahead, once for each, with what to type."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from models.plc import certificate, letter
from plc.reminders import remind
from tests.integration.plc.conftest import Certified, Running


def left(plc: Running, who: Certified, days: float, life: int = 90) -> datetime:
    """Now; the certificate ends so many days later and was made for `life` days."""
    now = plc.central.clock.now()
    end = now + timedelta(days=days)
    with plc.central.begin() as connection:
        mine = update(certificate).where(certificate.c.name == who.email)
        connection.execute(mine.values(not_after=end, issued_at=end - timedelta(days=life)))
    return now


def told(plc: Running, who: Certified, now: datetime) -> list[Any]:
    """Letters about an end to this user, after another look."""
    with plc.central.begin() as connection:
        remind(connection, now)
        mine = select(letter).where(letter.c.recipient == who.email, letter.c.subject.contains("ends on"))
        return list(connection.execute(mine.order_by(letter.c.id)))


def test_twice_in_all(plc: Running) -> None:
    who = plc.certified()
    now = left(plc, who, 14.5)
    assert told(plc, who, now) == []
    for ahead, letters in ((0.6, 1), (1, 1), (11, 1), (11.6, 2), (14, 2), (14.4, 2)):
        assert len(told(plc, who, now + timedelta(days=ahead))) == letters, ahead
    assert all("plkeygen --renew" in row.body for row in told(plc, who, now + timedelta(days=20)))


def test_only_the_nearer_one_when_both_are_due(plc: Running) -> None:
    who = plc.certified()
    now = left(plc, who, 2)
    assert len(told(plc, who, now)) == len(told(plc, who, now)) == 1


def test_nothing_for_who_has_the_next_already_or_a_short_one(plc: Running) -> None:
    who = plc.certified()
    assert told(plc, who, left(plc, who, 2, life=4)) == []
    now = left(plc, who, 2)
    with plc.central.begin() as connection:
        (row,) = connection.execute(select(certificate).where(certificate.c.name == who.email)).mappings()
        later = {"serial": f"{row['serial']}-2", "not_after": now + timedelta(days=90)}
        connection.execute(certificate.insert().values({**row, **later}))
    assert told(plc, who, now) == []


def test_nothing_about_a_revoked_one(plc: Running) -> None:
    who = plc.certified()
    now = left(plc, who, 2)
    with plc.central.begin() as connection:
        revoked = {"revoked_at": now, "revoked_reason": "test"}
        connection.execute(update(certificate).where(certificate.c.name == who.email).values(**revoked))
    assert told(plc, who, now) == []
