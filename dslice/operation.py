"""An operation: asked for, followed, cancelled."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from dslice.errors import Error, OperationFailed, PartialFailure, told
from dslice.event import Event, Failure
from trust.errors import Code, Refusal, printable

if TYPE_CHECKING:
    from dslice.client import Client
    from svm.request import Request


class Operation:
    """Something that svmd does for a slice, whether or not anybody waits for it.

    Args:
        id: as `svm watch` takes it.
        verb: what was asked for, as `svm` calls it.
        slice: the slice's name.
    """

    def __init__(self, client: "Client", id: str, verb: str, slice: str, request: "Request | None" = None) -> None:
        self.id = id
        self.verb = verb
        self.slice = slice
        self._client = client
        self._request = request
        self._forget()

    def _forget(self) -> None:
        self.outcome: str | None = None
        self.total = 0
        self.nodes: list[str] = []
        self.failures: list[Failure] = []
        self._refusal: Refusal | None = None

    @property
    def ended(self) -> bool:
        """Whether it had when svmd was asked last."""
        return self.outcome is not None

    def _begin(self) -> Self:
        """Ask for it."""
        assert self._request is not None  # noqa: S101 - whoever has it asks for it
        try:
            with told():
                self.id = self._client._ask(self._request)
        except KeyboardInterrupt as interrupt:
            reason = f"the request may have reached svmd; see: svm watch {self.slice}"
            raise KeyboardInterrupt(reason) from interrupt
        return self

    def watch(self, timeout: float | None = None) -> Iterator[Event]:
        """Its events from the first to the last, as they happen. Error(timeout) after so many seconds; it goes on."""
        end = None if timeout is None else monotonic() + timeout
        self._forget()
        with self._left_going(), told():
            for event in self._client._open().events(self.id, end):
                self._note(event)
                yield Event.of(event, self.verb)

    def wait(self, timeout: float | None = None) -> Self:
        """Wait for its end, for so many seconds at most; in a notebook a bar shows how far it is.

        Raises PartialFailure or OperationFailed when it did not do all, Error(timeout) when it takes longer.
        """
        from dslice.shown import bar_of

        with self._left_going(), bar_of(self) as show:
            for _ in self.watch(timeout):
                show()
        self.check()
        return self

    def check(self) -> None:
        """Raises PartialFailure or OperationFailed when it has ended and not done all."""
        if self.outcome in (None, "done"):
            return
        if self._refusal is not None and not self.failures:
            code, why = str(self._refusal.code), self._refusal.reason
        else:
            code = str(Code.CANCELLED) if self.outcome == "cancelled" else self._commonest()
            why = self._summary()
        kind = PartialFailure if self.nodes else OperationFailed
        raise kind(code, f"{self}: {why}", self, self.nodes, self.failures)

    def _again(self) -> "Operation":
        """Ask for the same again, and wait for it. Error where it was another who asked."""
        if self._request is None:
            raise Error(str(Code.BAD_INPUT), f"{self} was asked for elsewhere; call the slice's method for it")
        return Operation(self._client, "", self.verb, self.slice, self._request)._begin().wait()

    def cancel(self) -> None:
        """Begin no more steps; those under way are completed."""
        with told():
            self._client._open().cancel(self.id)

    def refresh(self) -> dict[str, Any]:
        """How it stands, as svmd says it (docs/svmd.md): open_steps, in_flight, ok, failed, outcome …"""
        with told():
            return self._client._open().operation(self.id)

    @contextmanager
    def _left_going(self) -> Iterator[None]:
        """Ctrl-C ends the waiting only, and says so."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if interrupt.args:
                raise  # it says so

            how = f"it continues; follow it with: svm watch {self.id}, or Slice({self.slice!r}).wait()"
            raise KeyboardInterrupt(f"{self}: {how}") from interrupt

    def _note(self, event: dict[str, Any]) -> None:
        from svm.results import node_result, nodes_in_all, refusal_of

        self.total = nodes_in_all(event) or self.total
        if event["type"] == "node":
            result = node_result(event)
            if result.ok:
                self.nodes.append(result.node)
            elif not result.replaced:
                reason = printable(result.reason or "failed without a reason")
                self.failures.append(Failure(result.node, result.step, result.code or "other", reason))
        elif event["type"] == "ended":
            self.outcome = str((event.get("detail") or {}).get("outcome"))
            self._refusal = refusal_of(event)

    def _commonest(self) -> str:
        codes = [failure.code for failure in self.failures]
        return max(codes, key=codes.count, default=str(Code.INTERNAL))

    def _summary(self) -> str:
        from svm.results import NodeResult, summary_line

        found = [NodeResult(node, True) for node in self.nodes]
        found += [NodeResult(each.node, False, each.code, each.reason, each.step) for each in self.failures]
        return f"{summary_line(found)}; retry() does what is not done yet"

    def progress(self) -> str:
        """`12 of 64 nodes · 1 failed`, as far as it was watched."""
        done = len(self.nodes) + len(self.failures)
        text = f"{done} of {max(self.total, done)} nodes"
        return f"{text} · {len(self.failures)} failed" if self.failures else text

    def __str__(self) -> str:
        return f"{self.verb} {self.slice}".strip()

    def __repr__(self) -> str:
        return f"<{self}, {self.outcome or 'going on'}: {self.progress()}>"

    def _repr_html_(self) -> str:
        from dslice.shown import operation_html

        return operation_html(self)
