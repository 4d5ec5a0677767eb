"""Moving bytes between a channel and descriptors, with back-pressure both ways.

Nothing is buffered here beyond one chunk: a reader that stalls stops its writer through the SSH window one way and
through the pipe the other.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable, Mapping
from time import monotonic

import paramiko

from nodemgr.frontdoor.fed import FedChannel, Target

CHUNK = 64 << 10
# Reads: a terminal gives 4 KiB at a time, and holds 64 KiB.
DRAIN = 64


class ChannelGoneError(Exception):
    """The channel is gone."""


# What paramiko and the socket below say on a channel, or a connection, that has ended.
CHANNEL_LOST = (ChannelGoneError, OSError, EOFError, paramiko.SSHException)


def outwards(sources: Mapping[int, Callable[[bytes], None]], wake: int, ended: int | None = None) -> None:
    """Send what the descriptors of `sources` give, each to its own sender, until all are at their end.

    Args:
        sources: descriptor to what takes its bytes (a channel's sendall, which blocks while its window is shut).
        wake: becomes readable when the channel is gone.
        ended: becomes readable when a terminal's program has ended. What the terminal holds is still sent, and whatever
            else has it open, a job that goes on say, is not waited for.

    Raises:
        ChannelGoneError: the channel is gone.
    """
    unfinished = dict(sources)
    poller = select.poll()
    for descriptor in (*unfinished, wake, *(() if ended is None else (ended,))):
        poller.register(descriptor, select.POLLIN)
    while unfinished or ended is not None:
        ready = [descriptor for descriptor, _event in poller.poll()]
        if wake in ready:
            raise ChannelGoneError
        if ended in ready:
            _drain(unfinished)
            return
        for descriptor in ready:
            if not _forward(descriptor, unfinished[descriptor]):
                poller.unregister(descriptor)
                del unfinished[descriptor]


def _drain(sources: Mapping[int, Callable[[bytes], None]]) -> None:
    for descriptor, send in sources.items():
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        for _ in range(DRAIN):
            if not poller.poll(0) or not _forward(descriptor, send):
                break


def inwards(channel: FedChannel, target: Target, wake: int, linger: float = 0) -> None:
    """Write what the client sends to `target` until the client's EOF or the channel's end.

    When nobody reads any more the rest is taken and dropped: a command that ignores its input is no error.

    Args:
        wake: becomes readable when the channel is gone.
        linger: seconds for which a chunk that has come by then still waits for a reader.
    """
    listening = True
    channel.feeds(target)
    try:
        while data := _receive(channel):
            if listening and not _write_all(target, data, wake, linger):
                listening = False
                channel.feeds(None)
            channel.written(len(data))
    finally:
        channel.feeds(None)


def _receive(channel: paramiko.Channel) -> bytes:
    """The client's next bytes; none at its EOF, and none when the connection is lost while it is told to go on."""
    try:
        return channel.recv(CHUNK)
    except CHANNEL_LOST:
        return b""


def _forward(source: int, send: Callable[[bytes], None]) -> bool:
    """One chunk; False at the end. A terminal's master says EIO where a pipe says nothing."""
    try:
        data = os.read(source, CHUNK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if not data:
        return False
    try:
        send(data)
    except CHANNEL_LOST as error:
        raise ChannelGoneError from error
    return True


def _write_all(target: Target, data: bytes, wake: int, linger: float) -> bool:
    """False when nobody will read what is written to `target`, or the channel is gone."""
    poller = select.poll()
    poller.register(target.descriptor, select.POLLOUT)
    poller.register(wake, select.POLLIN)
    rest, end = memoryview(data), math.inf
    while True:
        try:
            rest = rest[target.write(rest) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        if not rest:
            return True
        left = None if end == math.inf else max(0, end - monotonic()) * 1_000
        ready = [descriptor for descriptor, _event in poller.poll(left)]
        if target.descriptor in ready:
            continue
        if end < math.inf:
            return False
        end = monotonic() + linger
        poller.unregister(wake)
