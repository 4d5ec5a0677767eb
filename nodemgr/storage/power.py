"""What a store knows of a sliver beside its lease: the last order that it got, and why it does not run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Power:
    """The last two count only while the lease is `leased` and has a sliver.

    Args:
        ordered_at: when the last order was given, microseconds since 1970; 0: there was none.
        since: since when it does not run; None: nobody knows.
        reason: how it came to its end, as "ended by itself"; "": its owner had it stopped.
    """

    ordered_at: int = 0
    since: datetime | None = None
    reason: str = ""

    @property
    def ordered(self) -> bool:
        """Whether its owner had it stopped."""
        return self.since is not None and not self.reason

    def why(self, slice: str) -> str:
        """Why it does not run, and what to do, for whoever would be inside."""
        how = f" {self.reason or 'was stopped'}, {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else " does not run"
        return f"the VM of {slice} on this node{how}: svm start {slice} starts it, with its files and keys"
