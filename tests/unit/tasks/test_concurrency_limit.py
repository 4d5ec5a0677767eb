"""Threads kept free for interactive work."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from threading import Event, Lock

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tasks.concurrency_limit import ConcurrencyLimit


def _wait(hold: Event) -> None:
    hold.wait(10)


def test_never_more_than_its_share_at_once_and_everything_is_done() -> None:
    background, lock, done = ConcurrencyLimit(3), Lock(), []
    now, most = 0, 0

    def work(number: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
            done.append(number)

    with ThreadPoolExecutor(12) as pool:
        for number in range(200):
            pool.submit(background.run, partial(work, number))
    assert sorted(done) == list(range(200))
    assert most <= 3


def test_what_is_too_much_gives_its_thread_back_at_once() -> None:
    background, hold, done = ConcurrencyLimit(1), Event(), []
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(background.run, partial(_wait, hold))
        background.run(lambda: done.append(1))
        assert done == []
        hold.set()
        first.result(10)
    assert done == [1]


@pytest.mark.parametrize("error", [ValueError, PoolTimeoutError, SystemExit])
def test_work_that_fails_gives_its_place_to_what_waits(error: type[BaseException]) -> None:
    background, waits, done = ConcurrencyLimit(1), Event(), list[int]()

    def fail() -> None:
        waits.wait(10)
        raise error

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(background.run, fail)
        while not background._running:
            time.sleep(0.001)
        background.run(lambda: done.append(1))
        waits.set()
        wait([first])
    for number in (2, 3):
        background.run(lambda number=number: done.append(number))  # type: ignore[misc]
    assert sorted(done) == [1, 2, 3]
    assert background._running == 0


def test_nothing_begins_after_the_end() -> None:
    background, hold, done = ConcurrencyLimit(1), Event(), []
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(background.run, partial(_wait, hold))
        background.run(lambda: done.append(1))
        background.close()
        hold.set()
        first.result(10)
    assert done == []
