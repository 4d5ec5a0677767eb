"""Commands on nodes: what one did, and all of them as they end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dslice.errors import Error

if TYPE_CHECKING:
    from svm.everywhere import Everywhere, Ran

SSH_FAILED = 255
TIMED_OUT = 124


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did on a node.

    Args:
        node: the node's address.
        status: the command's exit status; 255 where ssh could not log in, 124 where it took longer than allowed.
        stdout, stderr: as text; what is no UTF-8 is replaced.
        seconds: from the start of ssh to its end.
    """

    node: str
    status: int
    stdout: str
    stderr: str
    seconds: float = field(compare=False)

    @property
    def ok(self) -> bool:
        return self.status == 0

    def check(self) -> Self:
        """Itself; raises Error(command-failed) unless the status is 0."""
        if not self.ok:
            raise Error("command-failed", str(self))
        return self

    def __str__(self) -> str:
        """`127.0.1.3: 6.1.0`; of a command that failed its status and last words."""
        if self.ok:
            return f"{self.node}: {self.stdout.rstrip()}"
        words = (self.stderr.strip() or self.stdout.strip()).splitlines()
        how = {SSH_FAILED: "ssh failed", TIMED_OUT: "took too long"}.get(self.status, f"exit {self.status}")
        return f"{self.node}: {how}{f': {words[-1].strip()}' if words else ''}"


class Results:
    """The results of a command that runs on several nodes, from now on; iterating gives each as it comes.

    Iterate as often as you like: what has come is kept. `close()`, and the end of a `with` block, end what still runs.
    """

    def __init__(self, running: "Everywhere", nodes: int) -> None:
        self._running = running
        self._coming = iter(running)
        self._nodes = nodes
        self._come: list[Result] = []

    def __iter__(self) -> Iterator[Result]:
        at = 0
        while True:
            if at == len(self._come):
                try:
                    self._come.append(_result(next(self._coming)))
                except StopIteration:
                    return
            yield self._come[at]
            at += 1

    def __len__(self) -> int:
        """On how many nodes it runs."""
        return self._nodes

    def wait(self) -> list[Result]:
        """All results, in the order in which they came."""
        return list(self)

    def check(self) -> list[Result]:
        """All results; raises Error(command-failed) where a status is not 0."""
        return checked(self.wait())

    def close(self) -> None:
        """End what still runs, and begin no more."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        from dslice.shown import results_html

        return results_html(self._come, self._nodes)


def checked(found: list[Result]) -> list[Result]:
    """The same; raises Error(command-failed) where a status is not 0."""
    failed = [result for result in found if not result.ok]
    if failed:
        raise Error("command-failed", f"{len(failed)} of {len(found)} nodes failed, the first: {failed[0]}")
    return found


def _result(ran: "Ran") -> Result:
    out, err = (text.decode("utf-8", "replace") for text in (ran.stdout, ran.stderr))
    return Result(ran.node, ran.status, out, err, ran.seconds)
