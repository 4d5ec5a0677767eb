"""How many may be at the front door, and inside: the bounds, and the decisions from them.

One stranger must not keep others out, and one slice's users must not use up a node that others share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MAX_STRANGERS = 200
MAX_STRANGERS_PER_SOURCE = 100
MAX_CONNECTIONS = 1_000
MAX_CONNECTIONS_PER_SLICE = 200
MAX_CHANNELS_PER_SLICE = 200
MAX_CHANNELS_PER_CONNECTION = 64
# paramiko remembers each channel's number as long as the connection lasts.
MAX_CHANNELS_EVER = 50_000


@dataclass(frozen=True, slots=True)
class Guest:
    """One connection: its address, the slice whose key it has shown (None: a stranger), and its open channels."""

    source: str
    slice: str | None
    channels: int


def may_knock(source: str, guests: Iterable[Guest]) -> bool:
    """Whether a new connection from `source` is taken; those who are logged in do not count as strangers."""
    present = list(guests)
    strangers = Counter(guest.source for guest in present if guest.slice is None)
    few = strangers[source] < MAX_STRANGERS_PER_SOURCE and strangers.total() < MAX_STRANGERS
    return few and len(present) < MAX_CONNECTIONS


def may_stay(slice: str, guests: Iterable[Guest]) -> bool:
    """Whether one who has just logged in to `slice`, and is among the guests, stays."""
    return sum(guest.slice == slice for guest in guests) <= MAX_CONNECTIONS_PER_SLICE


def may_open(slice: str, guests: Iterable[Guest]) -> bool:
    """Whether one more channel is opened in the sliver of `slice`."""
    return sum(guest.channels for guest in guests if guest.slice == slice) < MAX_CHANNELS_PER_SLICE
