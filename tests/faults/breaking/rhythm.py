"""Something that is done again and again beside what is under way, and its end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import psycopg
import redis

from testbed.home import HomeError
from tests.faults.stack import DICE


@contextmanager
def again_and_again(act: Callable[[], object], pauses: tuple[float, float]) -> Iterator[None]:
    """Call `act` at once and then after random pauses (seconds, from–to) until the block ends.

    What it fails with because the thing is broken already is passed over; anything else is raised at the end.
    """
    end, surprises = Event(), list[Exception]()

    def run() -> None:
        while not end.is_set():
            with suppress(psycopg.Error, redis.RedisError, HomeError):
                try:
                    act()
                except (psycopg.Error, redis.RedisError, HomeError):
                    raise
                except Exception as error:  # noqa: BLE001 - told in the thread that waits
                    surprises.append(error)
                    return
            end.wait(DICE.uniform(*pauses))

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if surprises:
        raise surprises[0]


def until(condition: Callable[[], bool], longest: float) -> None:
    """Wait for it, but not longer."""
    deadline = time.monotonic() + longest
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
