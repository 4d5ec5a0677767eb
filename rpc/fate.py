"""What became of something that was sent away, a letter or a webhook, and when it is tried again."""

from enum import StrEnum

LONGEST_PAUSE = 3600  # seconds between two tries


class Fate(StrEnum):
    """How one try ended."""

    SENT = "sent"
    LATER = "later"  # it may go through another time
    NEVER = "never"  # it will not, whoever sends it whenever
    UNTRIED = "untried"  # the server that all go through is away


def pause(attempts: int) -> int:
    """Seconds to wait after so many failed tries: 10, 20, 40 … 3,600."""
    return int(min(10 * 2 ** min(max(attempts, 1) - 1, 20), LONGEST_PAUSE))
