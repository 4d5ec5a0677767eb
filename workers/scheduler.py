"""Beat's schedule, in memory only: it stands in the code (`workers/app.py`), so there is nothing to keep in a file.

A file can be torn by a crash, and a beat that cannot read it ends at each start. What a file would remember is when
each task was last asked for. Instead the tasks that users wait for, and the canary by which beat is seen to live, are
due when beat starts: each takes only rows that are due, or is open once. The others begin anywhere in their period: a
beat that starts again and again asks for them no more often than one that runs, and no less often.
"""

from datetime import UTC, datetime, timedelta
from random import SystemRandom

from celery.beat import Scheduler

AT_ONCE = ("sweep", "autorenew", "canary-all")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
DICE = SystemRandom()


class MemoryScheduler(Scheduler):
    """Celery's scheduler with the entries of `beat_schedule`."""

    def setup_schedule(self) -> None:
        """Called by Celery when it is made."""
        self.merge_inplace(self.app.conf.beat_schedule)
        for name, entry in self.schedule.items():
            spent = timedelta(seconds=DICE.uniform(0, self.app.conf.beat_schedule[name]["schedule"]))
            entry.last_run_at = LONG_AGO if name in AT_ONCE else datetime.now(UTC) - spent
