"""Workers and beat: killed, ended, held up, doubled, missing."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.faults.breaking.rhythm import again_and_again, until
from tests.faults.breaking.standins import RUN, standing_in
from tests.faults.stack import DICE, LAPSE, Stack

BACK_WITHIN = 60


@contextmanager
def killed_in_a_loop(stack: Stack) -> Iterator[None]:
    """kill -9 of one worker after another, at any moment."""
    names = stack.names("worker")
    with again_and_again(lambda: stack.kill(DICE.choice(names)), (0.1, 0.6)):
        yield


@contextmanager
def all_killed(stack: Stack) -> Iterator[None]:
    """kill -9 of all workers at once, every few seconds; they work for longer than they take to come back."""
    names = stack.names("worker")

    def kill() -> None:
        begun = time.monotonic()
        for name in names:
            stack.kill(name)
        until(lambda: stack.all_ready(names), BACK_WITHIN)
        time.sleep(time.monotonic() - begun)

    with again_and_again(kill, (1.5, 4)):
        yield


@contextmanager
def terminated(stack: Stack) -> Iterator[None]:
    """SIGTERM: a warm stop, one worker after another."""
    names = stack.names("worker")

    def end() -> None:
        name = DICE.choice(names)
        stack.signal(name, signal.SIGTERM)

    with again_and_again(end, (0.5, 2)):
        yield


@contextmanager
def stopped_past_their_claims(stack: Stack) -> Iterator[None]:
    """SIGSTOP until the claims have lapsed and others have done the steps; then they finish what they held."""
    names = stack.names("worker")

    def hold_up() -> None:
        pids = [pid for name in DICE.sample(names, max(1, len(names) // 2)) if (pid := stack.pid(name))]
        _signal(stack, pids, signal.SIGSTOP)
        time.sleep(LAPSE + 2)
        _signal(stack, pids, signal.SIGCONT)

    with again_and_again(hold_up, (0.2, 1)):
        yield


@contextmanager
def two_beats(stack: Stack) -> Iterator[None]:
    """A second beat knocks as well, while workers and beat die."""
    names = [*stack.names("worker"), "beat"]
    dying = again_and_again(lambda: stack.kill(DICE.choice(names)), (1, 2))
    with standing_in(stack, "beat", ["-c", RUN, "beat"], {}), dying:
        yield


@contextmanager
def damaged_schedule(stack: Stack) -> Iterator[None]:
    """Where Celery's own beat keeps its schedule lies a file that nobody can read; both beats die and come back."""
    damaged = stack.home.service("svmd") / "beat-schedule"
    damaged.write_bytes(b"torn")
    try:
        with two_beats(stack):
            yield
    finally:
        damaged.unlink()


@contextmanager
def no_beat(stack: Stack) -> Iterator[None]:
    """No beat, hence no sweep, while workers are killed."""
    stack.stop("beat")
    names = stack.names("worker")
    try:
        with again_and_again(lambda: stack.kill(DICE.choice(names)), (1, 2)):
            yield
    finally:
        stack.start("beat")


def _signal(stack: Stack, pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            stack.counted.kills += number == signal.SIGSTOP
