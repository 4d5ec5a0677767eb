"""The event stream of one operation (server-sent events), read from the table and never from memory."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from lifecycle import operations
from lifecycle.events import Event, EventType, events_since
from rpc.server import Guard
from svm.service.bodies import event_json
from svm.service.context import Service
from svm.service.watching import LOOK_SECONDS
from trust.errors import Refusal
from trust.peers import Peer

RECHECK_SECONDS = 60
"""How often a watcher's certificate is looked at again (docs/protocol.md, "Identities")."""
QUIET_SECONDS = 15
"""A comment goes out after so long, so that both sides know that the other is there."""
AT_ONCE = 1000
LARGE = 100
"""Events after which a stream looks no more often than each `PAUSE_SECONDS`: then there are many at each look, and of
so many lines nobody sees when each came."""
PAUSE_SECONDS = 0.1

log = logging.getLogger(__name__)


async def events_of(
    service: Service, guard: Guard, operation: UUID, peer: Peer, seq: int, *, brief: bool = False
) -> AsyncIterator[bytes]:
    """Every event after `seq`, in order, until the operation's last one or until `peer` is no longer let in.

    `brief`: without those of steps that went well and end no node, two of three.
    """
    checked = sent = time.monotonic()
    with service.watchers.watching(operation) as news:
        while True:
            if time.monotonic() - checked > RECHECK_SECONDS:
                if not _still_welcome(guard, peer):
                    return
                checked = time.monotonic()
            news.clear()
            found, over = await asyncio.to_thread(_read, service, operation, seq)
            if found:
                seq = found[-1].seq
                if shown := [encode(event) for event in found if not (brief and _is_in_between(event))]:
                    yield b"".join(shown)
                    sent = time.monotonic()
            if over:
                return
            if time.monotonic() - sent > QUIET_SECONDS:
                yield b": still here\n\n"
                sent = time.monotonic()
            if len(found) < AT_ONCE:
                if seq > LARGE:
                    await asyncio.sleep(PAUSE_SECONDS)
                await _wait(news)


def _is_in_between(event: Event) -> bool:
    return event.type is EventType.STEP and event.ok is True


def encode(event: Event) -> bytes:
    """One server-sent event; its id is what Last-Event-ID sends back."""
    data = json.dumps(event_json(event), ensure_ascii=False)
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode()


def _read(service: Service, operation: UUID, seq: int) -> tuple[list[Event], bool]:
    """The events after `seq`, and whether no more will come."""
    try:
        with service.engine.connect() as connection:
            found = events_since(connection, operation, seq, AT_ONCE)
            if found:
                return found, found[-1].type is EventType.ENDED
            state = operations.read(connection, operation)
    except SQLAlchemyError as error:
        # The stream outlives a restart of PostgreSQL; the next look reads what was missed.
        log.warning("cannot read events now: %s", type(error).__name__)
        return [], False
    return [], state.outcome is not None and seq >= state.seq


def _still_welcome(guard: Guard, peer: Peer) -> bool:
    try:
        guard.recheck(peer)
    except Refusal as refusal:
        log.info("a stream ends: %s", refusal.code)
        return False
    return True


async def _wait(news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await news.wait()
    except TimeoutError:
        return
