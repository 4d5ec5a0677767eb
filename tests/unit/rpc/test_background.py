"""Background work survives what goes wrong in a round, and ends its process loudly otherwise."""

import asyncio
import logging
import subprocess
import sys
from threading import Event

import pytest

from rpc.background import EXIT_STATUS, Tasks, surviving, thread
from trust.errors import Code, Refusal

THREAD = """
import signal, sys, threading
from rpc.background import thread

def work():
    raise ValueError("nobody expected this")

over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
thread(work, "the keeper").start()
over.wait()
print("warm")
"""

TASK = """
import asyncio, signal
from rpc.background import Tasks

async def keep():
    raise ValueError("nobody expected this")

async def main():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with Tasks() as tasks:
        tasks.begin(keep())
        await over.wait()
    print("warm")

asyncio.run(main())
"""

DEAF = """
import signal
from rpc.background import end_process

signal.signal(signal.SIGTERM, signal.SIG_IGN)
end_process(0.1)
"""


@pytest.mark.parametrize(("program", "name"), [(THREAD, "the keeper"), (TASK, "keep")])
def test_a_surprise_ends_the_process(program: str, name: str) -> None:
    ended = run(program)
    assert (ended.returncode, ended.stdout) == (EXIT_STATUS, "warm\n")
    assert f"{name} has ended unexpectedly" in ended.stderr
    assert "nobody expected this" in ended.stderr


def test_a_process_that_cannot_end_warm_ends_hard() -> None:
    assert run(DEAF).returncode == EXIT_STATUS


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_round_survives(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Event()

    def work() -> None:
        for error in (ValueError("x"), Refusal(Code.TIMEOUT, "too slow"), TimeoutError()):
            with surviving("cannot look after %s", "n1"):
                raise error
        rounds.set()

    with caplog.at_level(logging.WARNING):
        running = thread(work, "rounds")
        running.start()
        running.join(30)
    assert rounds.is_set()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot look after n1",
        "cannot look after n1: too slow",
        "cannot look after n1",
    ]


async def test_tasks_end_with_their_owner() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def once() -> None:
        await asyncio.sleep(0)

    async with Tasks() as tasks:
        tasks.begin(forever())
        tasks.begin(once())
        await asyncio.sleep(0.01)
        assert not ended.is_set()
    assert ended.is_set()
