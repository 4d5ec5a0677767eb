"""The errors of `dslice`, all of them:

Error                     no, with a code, the reason in one line, and what to do about it
└── OperationFailed       an operation did nothing that it was asked for
    └── PartialFailure    it did on some nodes, and on others not

Ctrl-C stays a KeyboardInterrupt, which says how to follow the operation that goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from dslice.event import Failure
    from dslice.operation import Operation


class Error(Exception):
    """What was asked for was refused or failed.

    Args:
        code: a stable word, as in docs/protocol.md, "Codes": `not-found`, `unreachable`, `over-capacity` …
        reason: what happened and what to do next, one line.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    @property
    def advice(self) -> str:
        """What to do next: the last part of the reason; empty where there is nothing to say."""
        return self.reason.rpartition("; ")[2] if "; " in self.reason else ""


class OperationFailed(Error):  # noqa: N818 - what happened, as PartialFailure
    """An operation that ended without what it was asked for.

    Args:
        operation: the one that failed.
        nodes: addresses where it went well.
        failures: the other nodes, each with its code and reason.
    """

    def __init__(
        self, code: str, reason: str, operation: "Operation", nodes: Sequence[str], failures: "Sequence[Failure]"
    ) -> None:
        super().__init__(code, reason)
        self.operation = operation
        self.nodes = tuple(nodes)
        self.failures = tuple(failures)

    def retry(self) -> "Operation":
        """Ask for the same again, which does only what is not done yet, and wait for it. Raises as the first did."""
        return self.operation._again()


class PartialFailure(OperationFailed):
    """It went well on `nodes`, which can be used, and not on those in `failures`."""


@contextmanager
def told() -> Iterator[None]:
    """What the shared client refuses is an `Error` to callers of this package."""
    try:
        yield
    except Refusal as refusal:
        raise Error(str(refusal.code), refusal.reason) from refusal


def bad_input(reason: str) -> Error:
    """What was given cannot be right."""
    return Error(str(Code.BAD_INPUT), reason)
