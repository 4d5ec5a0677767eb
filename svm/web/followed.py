"""One operation as its events tell it: read from svmd once, by one thread, for all pages that show it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from svm.results import NodeResult
from trust.errors import Refusal, printable

CATCH_UP = 3
"""Seconds that a page waits for the events of before."""


@dataclass(slots=True)
class NodeLog:
    """What is known of one node in an operation; `state` is trying, ok, failed or replaced."""

    node: str
    state: str = "trying"
    step: str = ""
    attempts: int = 0
    code: str | None = None
    reason: str | None = None
    at: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)

    def result(self) -> NodeResult:
        """As the command line has it."""
        replaced = self.state == "replaced"
        return NodeResult(self.node, self.state == "ok", self.code, self.reason, self.step, replaced=replaced)


class Told:
    """What events add up to. Not for two threads."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeLog] = {}
        self.notes: list[dict[str, Any]] = []
        self.total = 0
        self.ended: Mapping[str, Any] | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """The next event."""
        detail = event.get("detail") or {}
        match event["type"]:
            case "started":
                self.total = int(detail.get("nodes") or 0)
            case "note" if event.get("reason"):
                self.notes.append({"at": event["at"], "reason": printable(str(event["reason"]))})
            case "ended":
                self.ended = event
            case "step" | "node" if event.get("node"):
                self._add_to(self.nodes.setdefault(event["node"], NodeLog(event["node"])), event, detail)

    def _add_to(self, one: NodeLog, event: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
        one.attempts += 1
        one.step = event.get("kind") or one.step
        one.code = event.get("code")
        one.reason = printable(str(event["reason"])) if event.get("reason") else None
        one.at = str(event["at"])
        ok = event.get("ok")
        if event["type"] == "node":
            one.state = "replaced" if detail.get("replaced") else "ok" if ok else "failed"
        else:
            one.state = "trying"
        said = "done" if ok else "failed" if ok is False else "tried again"
        one.log.append({"at": one.at, "step": one.step, "what": said, "reason": one.reason})


class Followed:
    """The events of one operation so far; `version` changes with each of them."""

    def __init__(self, events: Callable[[], Iterator[dict[str, Any]]]) -> None:
        self.told = Told()
        self.version = 0
        self.failed: Refusal | None = None
        self._stopped = False
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.told.ended is not None or self.failed is not None

    def stop(self) -> None:
        """Nobody looks any more; the thread ends at the next event."""
        self._stopped = True

    def wait_for(self, done: Callable[["Followed"], bool], seconds: float = CATCH_UP) -> None:
        """Until `done`, or the operation is over, or so many seconds have passed."""
        with self._news:
            self._news.wait_for(lambda: done(self) or self.over, seconds)

    def snapshot(self) -> tuple[list[NodeLog], list[dict[str, Any]], int]:
        """Nodes, notes and how many nodes there are to be. Raises Refusal when the events cannot be read."""
        with self._news:
            if self.failed is not None and not self.told.nodes:
                raise self.failed
            return list(self.told.nodes.values()), list(self.told.notes), max(self.told.total, len(self.told.nodes))

    def _read(self, events: Callable[[], Iterator[dict[str, Any]]]) -> None:
        try:
            for event in events():
                with self._news:
                    self.told.add(event)
                    self.version += 1
                    self._news.notify_all()
                if self._stopped:
                    return
        except Refusal as refusal:
            with self._news:
                self.failed = refusal
                self.version += 1
                self._news.notify_all()
