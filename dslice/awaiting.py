"""From a method to the same one for asyncio, with its arguments and types: each call in a thread of its own.

The threads are none of asyncio's pool: whoever is cancelled waits no longer for what still runs, and the end of the
program does not either.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import wraps
from threading import Event, Thread
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def like(make: Callable[P, Any]) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """An `__init__` with the arguments of `make`, whose result becomes `_it`."""

    def decorate(_: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        def init(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
            self._it = make(*args, **kwargs)

        return init

    return decorate


def awaited(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """`method`, of what is behind `_it`, as a coroutine."""
    return giving(method, lambda result: result)


def giving(
    method: Callable[Concatenate[Any, P], T], turn: Callable[[T], R]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """The same, with `turn` of what it returns."""

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return turn(await in_thread(lambda: method(self._it, *args, **kwargs)))

    return call


def streamed(
    method: Callable[Concatenate[Any, P], Iterable[T]],
) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """`method`, which yields, as an asynchronous iterator."""

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return each(lambda: method(self._it, *args, **kwargs))

    return call


async def in_thread(function: Callable[[], R]) -> R:
    """What `function` returns or raises, from a thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: object) -> None:
        if not future.done():
            set_it(value)

    def work() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = (future.set_result, function())
        except BaseException as error:  # noqa: BLE001 - whoever awaits it gets it
            outcome = (future.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    Thread(target=work, daemon=True).start()
    return await future


async def each(make: Callable[[], Iterable[T]], close: Callable[[], None] = lambda: None) -> AsyncGenerator[T, None]:
    """What `make()` yields, from a thread of its own; `close` is called when nobody wants more of it."""
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    over = Event()

    def tell(what: str, value: object = None) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(found.put_nowait, (what, value))

    def work() -> None:
        try:
            for item in make():
                tell("item", item)
                if over.is_set():
                    return
            tell("end")
        except BaseException as error:  # noqa: BLE001 - whoever iterates gets it
            tell("error", error)

    Thread(target=work, daemon=True).start()
    try:
        while (got := await found.get())[0] == "item":
            yield got[1]
        if got[0] == "error":
            raise got[1]
    finally:
        over.set()
        close()
