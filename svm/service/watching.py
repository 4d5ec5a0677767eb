"""One LISTEN connection per svmd: it only says which operations have news; what the news is, is read from the table.

A notification may be lost with the connection, so everyone who watches reads again after each reconnect and every
`LOOK_SECONDS`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from lifecycle.events import CHANNEL
from rpc.background import Tasks, surviving

LOOK_SECONDS = 5
RECONNECT_SECONDS = 1

log = logging.getLogger(__name__)


class Watchers:
    """Who waits for news of which operation. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    @property
    def watched(self) -> frozenset[UUID]:
        """The operations that somebody watches now."""
        return frozenset(self._waiting)

    @contextmanager
    def watching(self, operation: UUID) -> Iterator[asyncio.Event]:
        """An event that is set at news of `operation`; clear it before reading, so that none is missed."""
        news = asyncio.Event()
        self._waiting[operation].add(news)
        try:
            yield news
        finally:
            self._waiting[operation].discard(news)
            if not self._waiting[operation]:
                del self._waiting[operation]

    def tell(self, payload: str) -> None:
        """Wake those who watch the operations in a notification."""
        for word in payload.split():
            with suppress(ValueError):
                for news in self._waiting.get(UUID(word), ()):
                    news.set()

    def tell_all(self) -> None:
        """Wake everyone: notifications may have been lost."""
        for waiting in self._waiting.values():
            for news in waiting:
                news.set()


@asynccontextmanager
async def listening(engine: Engine, watchers: Watchers) -> AsyncIterator[None]:
    """Pass notifications on to `watchers` until the end, through every restart of PostgreSQL."""
    async with Tasks() as tasks:
        tasks.begin(_listen_for_ever(engine, watchers))
        yield


async def _listen_for_ever(engine: Engine, watchers: Watchers) -> None:
    while True:
        with surviving("cannot listen for events; trying again"):
            try:
                await _listen(engine, watchers)
            except (psycopg.Error, OSError) as error:
                log.warning("lost the connection that listens for events: %s", type(error).__name__)
        await asyncio.sleep(RECONNECT_SECONDS)


async def _listen(engine: Engine, watchers: Watchers) -> None:
    _, arguments = engine.dialect.create_connect_args(engine.url)
    connection = await psycopg.AsyncConnection.connect(
        **arguments, autocommit=True, connect_timeout=5, keepalives_idle=30, tcp_user_timeout=30_000
    )
    async with connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        watchers.tell_all()
        async for notification in connection.notifies():
            watchers.tell(notification.payload)
