"""A worker's points, for each kind of step: its claim taken but not committed, and committed; before and after each
call; its record not begun, not committed, and committed; what follows it not published, and published.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import count
from threading import local
from typing import Any

from lifecycle.verbs import VERBS
from models.states import Verb
from tests.faults.crashing import die

REQUIRED = (
    "claim not committed",
    "claim committed",
    "before call 1",
    "after call 1",
    "before record",
    "before commit",
    "committed",
)
"""Points that each kind of step has; the others depend on what follows it."""
_written = local()
_step: ContextVar[tuple[str, "count[int]"] | None] = ContextVar("step", default=None)


def required(verb: str) -> set[str]:
    """Points that nobody gets past when this verb is done on new slices."""
    row = VERBS[Verb(verb)]
    kinds = {*row.chain, *filter(None, [row.after_deletions])}
    return {f"{kind}, {place}" for kind in kinds for place in REQUIRED}


def arm() -> None:
    """Put a death at every point."""
    import lifecycle.writer as writing
    import tasks.publish as publishing
    import tasks.step as steps
    from rpc.aio import Session

    steps.claim = _claiming(steps.claim)  # type: ignore[attr-defined]
    steps._attempt = _attempting(steps._attempt)
    Session.call = _calling(Session.call)  # type: ignore[method-assign]
    writing.record = _recording(writing.record)  # type: ignore[attr-defined]
    publishing.Publisher.put = _committed(publishing.Publisher.put)  # type: ignore[method-assign]
    publishing._send = _sending(publishing._send)


def _claiming(whole: Callable[..., Any]) -> Callable[..., Any]:
    def claim(*args: Any, **named: Any) -> Any:
        claims = whole(*args, **named)
        for found in claims[:1]:
            die(f"{found.kind}, claim not committed")
        return claims

    return claim


def _attempting(whole: Callable[..., Any]) -> Callable[..., Any]:
    async def attempt(claim: Any, *rest: Any) -> Any:
        die(f"{claim.kind}, claim committed")
        _step.set((str(claim.kind), count(1)))
        return await whole(claim, *rest)

    return attempt


def _calling(whole: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **named: Any) -> Any:
        step = _step.get()
        if step is None:
            return await whole(*args, **named)
        kind, number = step[0], next(step[1])
        die(f"{kind}, before call {number}")
        answer = await whole(*args, **named)
        die(f"{kind}, after call {number}")
        return answer

    return call


def _recording(whole: Callable[..., Any]) -> Callable[..., Any]:
    def record(connection: Any, records: Sequence[Any], *rest: Any) -> Any:
        kinds = {str(found.claim.kind) for found in records}
        for kind in kinds:
            die(f"{kind}, before record")
        came = whole(connection, records, *rest)
        for kind in kinds:
            die(f"{kind}, before commit")
        for kind in {str(found.kind) for found in came[2].values()}:
            die(f"{kind}, claim not committed")
        _written.kinds = kinds
        return came

    return record


def _committed(whole: Callable[..., Any]) -> Callable[..., Any]:
    """The writer hands over what became due right after its commit."""

    def put(self: Any, refs: Sequence[Any]) -> None:
        for kind in getattr(_written, "kinds", ()):
            die(f"{kind}, committed")
        for kind in {str(ref.kind) for ref in refs}:
            die(f"{kind}, committed and not yet published")
        whole(self, refs)

    return put


def _sending(whole: Callable[..., Any]) -> Callable[..., Any]:
    def send(app: Any, messages: Sequence[Any]) -> Any:
        kinds = {str(kind) for kind, _, _ in messages}
        for kind in kinds:
            die(f"{kind}, before its message is sent")
        sent = whole(app, messages)
        for kind in kinds:
            die(f"{kind}, after its message is sent")
        return sent

    return send
