"""The time, passed in: aware, in UTC, so that tests and fault injection choose it."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from trust.errors import Code, Refusal


class Clock(Protocol):
    """Anything that tells the time; ``now()`` is always aware and in UTC."""

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock, moved by ``offset`` seconds."""

    offset: int = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset)


def system_clock() -> SystemClock:
    """The clock of a process; ``DSLICE_CLOCK_OFFSET`` (seconds, may be negative) moves it for fault injection.

    Raises Refusal(BAD_INPUT) when the variable is not a whole number of at most eight digits.
    """
    text = os.environ.get("DSLICE_CLOCK_OFFSET", "").strip() or "0"
    if not re.fullmatch(r"[+-]?[0-9]{1,8}", text):
        raise Refusal(Code.BAD_INPUT, "DSLICE_CLOCK_OFFSET must be a whole number of seconds; correct or unset it")
    return SystemClock(int(text))
