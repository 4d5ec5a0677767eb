"""The current advertisements as `GET /ads` sends them: bytes, made again when something may have changed."""

import asyncio
from time import monotonic

from sqlalchemy import Engine

from agent import ads
from agent.writer import Writer
from trust.clock import Clock

FRESH_SECONDS = 0.5  # between two readings, whatever nodes say meanwhile: all nodes of a new slice ask at once
STALE_SECONDS = 2  # without news from a node; one that fell silent is noticed then


class Board:
    """Of one agent, in one loop."""

    def __init__(self, engine: Engine, clock: Clock, writer: Writer) -> None:
        self._engine = engine
        self._clock = clock
        self._writer = writer
        self._reading = asyncio.Lock()
        self._read, self._changes = float("-inf"), 0
        self._content, self._tag = b"", ""

    async def content(self) -> tuple[bytes, str]:
        """The body of `GET /ads`, and its ETag."""
        async with self._reading:
            if self._is_old():
                # Before it reads, for what is stored meanwhile may not be in it.
                changes, read = self._writer.changes, monotonic()
                self._content, self._tag = await asyncio.to_thread(self._current)
                self._changes, self._read = changes, read
            return self._content, self._tag

    def _is_old(self) -> bool:
        age = monotonic() - self._read
        return age > STALE_SECONDS or (age > FRESH_SECONDS and self._changes != self._writer.changes)

    def _current(self) -> tuple[bytes, str]:
        with self._engine.connect() as connection:
            return ads.board(connection, self._clock.now())
