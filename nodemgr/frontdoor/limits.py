"""How many may be at the front door, and inside: the bounds, and the decisions from them.

One stranger must not keep others out, and one slice's users must not use up a node that others share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MAX_STRANGERS = 200
MAX_STRANGERS_PER_SOURCE = 100
# Of those who are logged in.
MAX_CONNECTIONS = 1_000
MAX_CONNECTIONS_PER_SLICE = 200
MAX_CHANNELS_PER_SLICE = 200
MAX_CHANNELS_PER_CONNECTION = 64
# paramiko remembers each channel's number as long as the connection lasts.
MAX_CHANNELS_EVER = 50_000
# Bytes that a client may send on a channel before its command reads them: what a slice's clients can have kept here.
WINDOW = 2 << 20
WIDE_PER_SLICE = 16
NARROW_WINDOW = 64 << 10


@dataclass(frozen=True, slots=True)
class Client:
    """One connection: where it comes from (`rpc.eviction.source_of`), the slice whose key it has shown (None: a
    stranger), and its open channels."""

    source: str
    slice: str | None
    channels: int


def admits_user(slice: str, clients: Iterable[Client]) -> bool:
    """Whether one who has just logged in to `slice`, and is among the clients, stays."""
    inside = [client.slice for client in clients if client.slice is not None]
    return len(inside) <= MAX_CONNECTIONS and inside.count(slice) <= MAX_CONNECTIONS_PER_SLICE


def admits_channel(slice: str, clients: Iterable[Client]) -> bool:
    """Whether one more channel is opened in the sliver of `slice`."""
    return _channels(slice, clients) < MAX_CHANNELS_PER_SLICE


def window(slice: str, clients: Iterable[Client]) -> int:
    """Bytes for one more channel in the sliver of `slice`: wide for the first few, so that files go fast far away."""
    return WINDOW if _channels(slice, clients) < WIDE_PER_SLICE else NARROW_WINDOW


def _channels(slice: str, clients: Iterable[Client]) -> int:
    return sum(client.channels for client in clients if client.slice == slice)
