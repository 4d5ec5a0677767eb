"""What owners hear of processes that were ended because their sliver's memory was full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from nodemgr.slivers.drivers.driver import News

NEWS_SECONDS = 600  # between two words about one sliver


class MemoryNews:
    """Of one driver's slivers.

    Args:
        totals: how many processes the kernel has ended in each control group that is there, and these count as told.
    """

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._totals = dict(totals)
        self._ended: Counter[str] = Counter()  # by slice, and not told yet
        self._told: dict[str, float] = {}

    def add(self, ended: Mapping[str, int]) -> None:
        """So many of each of these slices' were ended."""
        self._ended.update(ended)

    def count(self, totals: Mapping[str, int], groups: Callable[[], Mapping[str, str | None]]) -> None:
        """The totals of now. `groups` gives the control group of each slice, and is asked if there is something new."""
        more = {group: number - self._totals.get(group, 0) for group, number in totals.items()}
        self._totals = dict(totals)
        if any(number > 0 for number in more.values()):
            of = {slice: more.get(group or "", 0) for slice, group in groups().items()}
            self.add({slice: number for slice, number in of.items() if number > 0})

    def news(self) -> list[News]:
        """Of each sliver at most every NEWS_SECONDS: what starts again is ended again."""
        now, found = time.monotonic(), []
        for slice in list(self._ended):
            if now - self._told.get(slice, -NEWS_SECONDS) >= NEWS_SECONDS:
                self._told[slice] = now
                number = self._ended.pop(slice)
                which = "one of its processes was" if number == 1 else f"{number} of its processes were"
                found.append(News(slice, f"{which} ended: its memory was full"))
        return found
