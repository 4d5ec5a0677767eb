"""Threads behind `dslice.aio`."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from dslice.aio import Results as AsyncResults
from dslice.awaiting import each, in_thread
from dslice.result import Results
from svm.everywhere import Everywhere


async def test_a_result_and_an_error_come_back() -> None:
    assert await in_thread(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_many_at_once() -> None:
    together = threading.Barrier(100)  # none gets through before all are there
    await asyncio.gather(*(in_thread(together.wait) for _ in range(100)))


async def test_who_is_cancelled_waits_no_longer() -> None:
    go_on = threading.Event()
    task = asyncio.create_task(in_thread(go_on.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()


async def test_items_come_while_others_are_made() -> None:
    seen = threading.Event()

    def make() -> Iterator[int]:
        yield 1
        assert seen.wait(60)
        yield 2

    found = []
    async for item in each(make):
        found.append(item)
        seen.set()
    assert found == [1, 2]


async def test_an_error_among_the_items() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("enough")

    coming = each(make)
    assert await anext(coming) == 1
    with pytest.raises(ValueError, match="enough"):
        await anext(coming)


async def test_commands_are_ended_when_nobody_iterates_any_more() -> None:
    code = "import sys, time; time.sleep(600 * (sys.argv[1] != '3'))"
    running = Everywhere(lambda node: [sys.executable, "-c", code, node], list("12345"), 8)
    coming = aiter(AsyncResults(lambda: Results(running, 5)))
    assert (await anext(coming)).node == "3"
    await coming.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
    assert list(running) == []


async def test_a_program_that_ends_waits_for_no_thread() -> None:
    code = (
        "import asyncio, time\nfrom dslice.awaiting import in_thread\n"
        "async def main():\n"
        "    try:\n        await asyncio.wait_for(in_thread(lambda: time.sleep(600)), 0.1)\n"
        "    except TimeoutError:\n        print('on')\n"
        "asyncio.run(main())"
    )
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(ended.communicate(), 120)
    assert out == b"on\n"
