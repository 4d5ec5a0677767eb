"""What an operation's events add up to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from svm.flags import Flags
from svm.web.asking import Asking
from svm.web.followed import Followed
from svm.web.pages import operation
from trust.errors import Code, Refusal

AT = "2026-01-10T12:00:00+00:00"


def event(kind: str, node: str | None = None, **more: Any) -> dict[str, Any]:
    told = {"type": kind, "node": node, "at": AT, "kind": "newvms", "ok": None, "code": None, "reason": None}
    return told | {"detail": {}} | more


EVENTS = [
    event("started", detail={"nodes": 3}),
    event("note", reason="3 tickets"),
    event("step", "10.0.0.1", code="timeout", reason="no answer"),
    event("node", "10.0.0.1", ok=True),
    event("node", "10.0.0.2", ok=False, code="unreachable", reason="refused"),
    event("node", "10.0.0.3", ok=False, detail={"replaced": True}),
    event("ended", detail={"outcome": "partial"}),
]


def test_nodes_have_their_state_their_tries_and_their_log() -> None:
    followed = Followed(lambda: iter(EVENTS))
    followed.wait_for(lambda _: False)
    nodes, notes, total = followed.snapshot()
    assert followed.over
    assert [(one.node, one.state, one.attempts) for one in nodes] == [
        ("10.0.0.1", "ok", 2),
        ("10.0.0.2", "failed", 1),
        ("10.0.0.3", "replaced", 1),
    ]
    assert [entry["what"] for entry in nodes[0].log] == ["tried again", "done"]
    assert nodes[1].result().reason == "refused"
    assert nodes[2].result().replaced
    assert notes == [{"at": AT, "reason": "3 tickets"}]
    assert total == 3


def test_events_that_cannot_be_read_are_said() -> None:
    def events() -> Iterator[dict[str, Any]]:
        raise Refusal(Code.NOT_OWNER, "another user's")
        yield {}

    followed = Followed(events)
    followed.wait_for(lambda _: False)
    with pytest.raises(Refusal, match="another user's"):
        followed.snapshot()


class EndsMeanwhile(Asking):
    """An operation that ends after svmd has said that it runs, and before the page is drawn."""

    def __init__(self) -> None:
        self.flags = Flags()
        self.told = threading.Event()
        self.one = Followed(self.events)

    def events(self) -> Iterator[dict[str, Any]]:
        yield EVENTS[0]
        self.told.wait(30)
        yield from EVENTS[1:]

    def followed(self, operation: str) -> Followed:
        return self.one

    @contextmanager
    def svmd(self) -> Iterator[Any]:
        yield self

    def operation(self, operation: str) -> dict[str, Any]:
        self.told.set()
        self.one.wait_for(lambda _: False)
        return {"operation": operation, "verb": "renewslice", "slice": "demo", "outcome": None}


def test_a_page_that_shows_less_than_was_told_asks_again() -> None:
    asking = EndsMeanwhile()
    page = operation(asking, "7", {})
    assert asking.one.over
    assert page.data["operation"]["outcome"] is None
    assert page.data["tag"] != str(asking.one.version)
