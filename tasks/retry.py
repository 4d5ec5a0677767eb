"""When a failed step is worth another try: bounded, with full jitter. Pure.

Full jitter: each delay is drawn evenly from zero to a limit that doubles (AWS Architecture Blog, "Exponential Backoff
And Jitter"), so that many steps that failed together do not come back together.
"""

from collections.abc import Callable
from dataclasses import dataclass

from trust.errors import Code

# What may be over in a moment; everything else is an answer and will be the same next time.
TRANSIENT = frozenset({Code.UNREACHABLE, Code.TIMEOUT, Code.CRL_STALE, Code.DISK_FULL, Code.INTERNAL})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on: `times` more tries, all of them begun and connected within `seconds`."""

    times: int
    seconds: int
    first: float = 1.0  # the first delay's limit, seconds
    longest: float = 60.0


def again_in(
    code: Code, *, tries: int, age: float, connect_timeout: float, patience: Patience, draw: Callable[[], float]
) -> float | None:
    """Seconds until the next try, or None when the step has failed for good.

    Args:
        tries: transient failures so far, this one not counted.
        age: seconds since the step first began.
        connect_timeout: what another try may take to find that nobody is there.
        draw: evenly from 0 to 1.
    """
    if code not in TRANSIENT or tries >= patience.times:
        return None
    delay = draw() * min(patience.longest, patience.first * 2.0**tries)
    if age + delay + connect_timeout > patience.seconds:
        return None
    return delay
