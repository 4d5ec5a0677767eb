"""One transaction for what many steps ask the database at the same time.

What is asked for while a look is under way makes up the next one. When a look fails, each of its questions is asked by
itself, so that one never costs its neighbours their answers; but not while PostgreSQL is away, where that would only
keep all of them waiting.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

Asked = TypeVar("Asked")
Found = TypeVar("Found")

LARGEST = 256  # questions in one look


class Together(Generic[Asked, Found]):
    """One kind of question; on one event loop.

    Args:
        look: what was found for each question, in their order.
    """

    def __init__(self, engine: Engine, look: Callable[[Connection, Sequence[Asked]], Sequence[Found]]) -> None:
        self._engine = engine
        self._look = look
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._serving: asyncio.Task[None] | None = None

    async def ask(self, question: Asked) -> Found:
        """What was found for this one. Raises what the look raised for it."""
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, found))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await found

    async def _serve(self) -> None:
        try:
            while self._waiting:
                now, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
                await self._answer(now)
        finally:
            self._serving = None

    async def _answer(self, waiting: Sequence[tuple[Asked, asyncio.Future[Found]]]) -> None:
        try:
            answers = await asyncio.to_thread(self._in_transaction, [question for question, _ in waiting])
        except Exception as error:  # noqa: BLE001 - told to who asked
            if len(waiting) > 1 and not isinstance(error, OperationalError | PoolTimeoutError):
                for one in waiting:
                    await self._answer([one])
                return
            for _, found in waiting:
                if not found.done():
                    found.set_exception(error)
            return
        for (_, found), answer in zip(waiting, answers, strict=True):
            if not found.done():  # who asked has gone
                found.set_result(answer)

    def _in_transaction(self, questions: Sequence[Asked]) -> Sequence[Found]:
        with self._engine.begin() as connection:
            return self._look(connection, questions)
