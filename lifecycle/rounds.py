"""Statements that work on many rows at once, given targets of which some may be named twice.

PostgreSQL joins one source row to each target of an UPDATE, and refuses an upsert that would touch a row twice. So what
names a target again waits for the next round, and is applied to what the round before it has left.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def rounds(items: Iterable[T], target: Callable[[T], Hashable]) -> list[list[T]]:
    """The items in rounds: none names a target twice, and each target's items keep their order. Mostly one round."""
    found: list[list[T]] = []
    named: Counter[Hashable] = Counter()
    for item in items:
        key = target(item)
        if named[key] == len(found):
            found.append([])
        found[named[key]].append(item)
        named[key] += 1
    return found
