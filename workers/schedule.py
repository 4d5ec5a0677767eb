"""Beat's schedule, in memory only: it stands in the code (`workers/app.py`), so there is nothing to keep in a file.

A file can be torn by a crash, and a beat that cannot read it ends at each start. What a file would remember is when
each task was last asked for; instead each is due at once when beat starts. That does no harm: a task looks for due rows
in PostgreSQL and finds none, as when two beats run.
"""

from datetime import UTC, datetime

from celery.beat import Scheduler

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Knocking(Scheduler):
    """Celery's scheduler with the entries of `beat_schedule`, all of them due at the start."""

    def setup_schedule(self) -> None:
        """Called by Celery when it is made."""
        self.merge_inplace(self.app.conf.beat_schedule)
        for entry in self.schedule.values():
            entry.last_run_at = LONG_AGO
