"""Server-sent events for pages that are open: each says only that the page has changed, and the page asks again.

A slice's changes are told by its newest event in svmd, an operation's by svmd's own stream of it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from svm.web.asking import Asking
from trust.errors import Refusal

LOOK = 0.8
"""Seconds between two looks at what svmd says of slices; an event shows within a second."""
LOOK_CLOSELY = 0.2
"""The same for an operation, whose events are here already."""
AT_LATEST = 30
"""Seconds after which a page is drawn again in any case, for the time left."""
AFTER_TROUBLE = 5


def of_slices(asking: Asking) -> Callable[[], Any]:
    """What changes when the page of all slices does."""

    def look() -> Any:
        with asking.svmd() as svmd:
            return hash(json.dumps(svmd.slices()))

    return look


def of_slice(asking: Asking, name: str) -> Callable[[], Any]:
    """What changes when a slice's page does: its newest event."""

    def look() -> Any:
        with asking.svmd() as svmd:
            return [(event["operation"], event["seq"]) for event in svmd.history(name, 1)]

    return look


def of_operation(asking: Asking, operation: str) -> Callable[[], Any]:
    """What changes when an operation's page does."""
    followed = asking.followed(operation)
    return lambda: (followed.version, followed.over)


async def changes(look: Callable[[], Any], every: float) -> AsyncIterator[bytes]:
    """A `changed` for each time that `look` sees something else than before."""
    yield b"retry: 1000\n\n"
    known, told = None, time.monotonic()
    while True:
        try:
            seen = await asyncio.to_thread(look)
        except Refusal:
            seen, pause = "trouble", max(every, AFTER_TROUBLE)
        else:
            pause = every
        if (known is not None and seen != known) or time.monotonic() - told > AT_LATEST:
            told = time.monotonic()
            yield b"event: changed\ndata: \n\n"
        known = seen
        await asyncio.sleep(pause)
