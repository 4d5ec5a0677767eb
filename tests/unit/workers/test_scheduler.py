"""What a beat that has just started asks for."""

from workers.app import app
from workers.scheduler import AT_ONCE, MemoryScheduler

STARTS = 400


def waits(name: str) -> list[float]:
    """For many beats that start now: how long until this task is due, as a part of its period."""
    period = float(app.conf.beat_schedule[name]["schedule"])
    found = []
    for _ in range(STARTS):
        due, seconds = MemoryScheduler(app=app).schedule[name].is_due()
        found.append(0.0 if due else seconds / period)
    return found


def test_what_users_wait_for_is_due_at_once() -> None:
    assert {"sweep", "autorenew"} <= set(AT_ONCE)
    for name in AT_ONCE:
        assert not any(waits(name))


def test_a_beat_that_starts_again_and_again_asks_for_the_rest_no_more_often() -> None:
    """One that lives for a tenth of the period asks in about a tenth of its lives."""
    for name in app.conf.beat_schedule.keys() - set(AT_ONCE):
        found = waits(name)
        assert 5 < sum(wait < 0.1 for wait in found) < STARTS / 4
        assert max(found) <= 1
