"""Server-sent events, the reading side (HTML Living Standard, 9.2). Pure: pieces of bytes in, events out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_EVENT = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream; ``event`` is "message" when the server named none, ``id`` the last one it gave."""

    id: str
    event: str
    data: str


def events(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """The events in a stream's bytes, however they are cut; an unfinished last one is dropped, comments are skipped.

    Raises ValueError for an event of more than 1 MiB.
    """
    last_id, event, data, size = "", "", list[str](), 0
    for line in _lines(pieces):
        size += len(line)
        if size > MAX_EVENT:
            raise ValueError("an event is too large")
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
        elif not line:
            if data:
                yield ServerSentEvent(last_id, event or "message", "\n".join(data))
            event, data, size = "", [], 0


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends, which are LF or CR LF."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
        if len(rest) > MAX_EVENT:
            raise ValueError("a line is too long")
