"""What happens in an operation, as svmd tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an operation's history.

    Args:
        at: when, in UTC; of the service's clock.
        type: `started`, `step` (one on the way at a node), `node` (a node is finished), `note`, `ended`.
        operation: its id.
        verb: what was asked for.
        node: the node's address; None where it is about the whole slice.
        step: what was done there.
        ok: how it went; None where it is tried again.
        code, reason: why it did not go well.
        facts: all that svmd said, by its own names (docs/svmd.md, "Events").
    """

    at: datetime
    type: str
    operation: str
    verb: str
    node: str | None
    step: str | None
    ok: bool | None
    code: str | None
    reason: str | None
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, told: Mapping[str, Any], verb: str = "") -> "Event":
        """An event as svmd sends it; `verb` where a stream leaves it out."""
        return cls(
            at=datetime.fromisoformat(told["at"]),
            type=told["type"],
            operation=told["operation"],
            verb=told.get("verb", verb),
            node=told["node"],
            step=told["kind"],
            ok=told["ok"],
            code=told["code"],
            reason=told["reason"],
            facts=told,
        )

    def __str__(self) -> str:
        from svm.told import told

        return told({**self.facts, "verb": self.verb})


@dataclass(frozen=True, slots=True)
class Failure:
    """A node on which an operation did not go well, at which `step` of it, and why."""

    node: str
    step: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"
