"""Server-sent events for pages that are open: each says only that the page has changed, and the page asks again.

A slice's changes are told by its newest event in svmd, an operation's by svmd's own stream of it.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool

from svm.web.asking import Asking
from trust.errors import Refusal

LOOK = 0.8
"""Seconds between two looks at what svmd says of slices; an event shows within a second."""
LOOK_CLOSELY = 0.2
"""The same for an operation, whose events are here already."""
AT_LATEST = 30
"""Seconds after which a page is drawn again in any case, for the time left."""
AFTER_TROUBLE = 5


def of_slices(asking: Asking) -> Callable[[], str]:
    """What changes when the page of all slices does."""

    def look() -> str:
        with asking.svmd() as svmd:
            return tag_of_slices(svmd.slices())

    return look


def of_slice(asking: Asking, name: str) -> Callable[[], str]:
    """What changes when a slice's page does: its newest event."""

    def look() -> str:
        with asking.svmd() as svmd:
            return tag_of_slice(svmd.history(name, 1))

    return look


def of_operation(asking: Asking, operation: str) -> Callable[[], str]:
    """What changes when an operation's page does."""

    def look() -> str:
        followed = asking.followed(operation)
        if followed.failed is not None:
            raise followed.failed
        return str(followed.version)

    return look


def tag_of_slices(found: Sequence[Mapping[str, Any]]) -> str:
    """Of the list of slices, as `GET /slices` has it; what doctor adds to each does not count."""
    plain = [{name: value for name, value in each.items() if name != "operations"} for each in found]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def tag_of_slice(events: Sequence[Mapping[str, Any]]) -> str:
    """Of a slice's history, which is oldest first."""
    return f"{events[-1]['operation']}-{events[-1]['seq']}" if events else "none"


async def changes(look: Callable[[], str], every: float, known: str) -> AsyncIterator[bytes]:
    """A `changed` for each time that `look` sees something else than before; `known`: what the page shows."""
    yield b"retry: 1000\n\n"
    told = time.monotonic()
    while True:
        try:
            seen = await run_in_threadpool(look)
        except Refusal:
            seen, pause = "trouble", max(every, AFTER_TROUBLE)
        else:
            pause = every
        if seen != known or time.monotonic() - told > AT_LATEST:
            told = time.monotonic()
            yield f"id: {seen}\nevent: changed\ndata: \n\n".encode()
        known = seen
        await asyncio.sleep(pause)
