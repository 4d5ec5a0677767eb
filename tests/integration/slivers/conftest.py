"""Slivers of every keeper driver that works on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def run_async(work: Coroutine[object, object, T]) -> T:
    """A driver's life-cycle call from a test that is not async itself."""
    return asyncio.run(work)
