"""How a simulated node may misbehave (`dslice fault`)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from trust.errors import Code, Refusal

LONGEST = 3_600  # seconds


class Kind(StrEnum):
    """What happens to those who call the node."""

    OK = "ok"
    REFUSE = "refuse"  # nothing listens
    BLACKHOLE = "blackhole"  # accepts, and never says a word
    RESET = "reset"  # accepts, and resets the connection
    SLOW = "slow"  # acts, and answers, that many seconds later
    LOSE_ANSWER = "lose-answer"  # acts, then hangs up
    HALF_ANSWER = "half-answer"  # acts, says half of the answer, then hangs up
    DRIP = "drip"  # acts, and says the answer at one byte in that many seconds
    SLOW_DRIVER = "slow-driver"  # makes, stops and removes slivers, that many seconds later
    FAILING_DRIVER = "failing-driver"  # makes, stops and removes none
    OVER_CAPACITY = "over-capacity"  # takes no new ticket
    WRONG_CERT = "wrong-cert"  # shows another node's certificate


DEFAULT_SECONDS = {Kind.SLOW: None, Kind.DRIP: 1.0, Kind.SLOW_DRIVER: None}


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave; `seconds` for `slow`, `drip` and `slow-driver` only."""

    kind: Kind
    seconds: float = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """As typed: `refuse`, `slow=2.5`. Refusal(BAD_INPUT) for anything else."""
        name, equals, value = text.partition("=")
        if name not in set(Kind):
            raise Refusal(Code.BAD_INPUT, f"no fault is called {name[:40]!a}; choose one of {', '.join(Kind)}")
        kind = Kind(name)
        if kind not in DEFAULT_SECONDS:
            if equals:
                raise Refusal(Code.BAD_INPUT, f"{kind} takes no value; say just {kind}")
            return cls(kind)
        seconds = _seconds(value) if equals else DEFAULT_SECONDS[kind]
        if seconds is None:
            raise Refusal(Code.BAD_INPUT, f"{kind} needs seconds, 0 to {LONGEST}; say {kind}=2")
        return cls(kind, seconds)

    def __str__(self) -> str:
        return f"{self.kind}={self.seconds:g}" if self.kind in DEFAULT_SECONDS else str(self.kind)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST else None
