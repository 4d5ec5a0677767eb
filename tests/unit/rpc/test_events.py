"""Server-sent events, the reading side."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.events import MAX_EVENT, ServerSentEvent, events

STREAM = (
    b': hello\n\nid: 1\nevent: step\ndata: {"ok": true}\n\n'
    b"data:two\r\ndata:  lines\r\n\r\nevent: nothing\n\nid\ndata\n\n"
    b"retry: 5\nid: \0\ndata: \xc3\xa9 \xff\n\ndata: unfinished\n"
)
EVENTS = [
    ServerSentEvent("1", "step", '{"ok": true}'),
    ServerSentEvent("1", "message", "two\n lines"),
    ServerSentEvent("", "message", ""),
    ServerSentEvent("", "message", "é �"),
]


def test_a_stream() -> None:
    assert list(events([STREAM])) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20).map(sorted))
def test_a_stream_cut_anywhere(cuts: list[int]) -> None:
    edges = [0, *cuts, len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert list(events(pieces)) == EVENTS


@pytest.mark.parametrize("line", [b"data: " + b"x" * 65_530 + b"\n", b"x" * 65_536])
def test_an_event_without_end(line: bytes) -> None:
    with pytest.raises(ValueError, match="too l"):
        list(events([line] * (MAX_EVENT // len(line) + 2)))
