"""Valkey: killed, wiped, held up, full; and every message delivered ten times."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lifecycle.steps import StepRef
from models.states import Kind, Queue
from tests.faults.breaking.rhythm import again_and_again
from tests.faults.stack import Stack

TIMES = 10
_NEW = """
    SELECT s.id, s.kind, o.queue, o.batch FROM svm.step s JOIN svm.operation o ON o.id = s.operation
    WHERE s.id > %s AND s.state <> 'held' ORDER BY s.id
"""


@contextmanager
def killed(stack: Stack) -> Iterator[None]:
    """kill -9; what was in the queues is gone."""
    with again_and_again(lambda: stack.kill("broker"), (1, 3)):
        yield


@contextmanager
def flushed(stack: Stack) -> Iterator[None]:
    """FLUSHALL: queues, unacknowledged messages and bindings are gone."""

    def flush() -> None:
        stack.broker.flushall()
        stack.counted.kills += 1

    with again_and_again(flush, (0.2, 0.8)):
        yield


@contextmanager
def paused(stack: Stack) -> Iterator[None]:
    """SIGSTOP: connections stand and nothing answers."""

    def hold_up() -> None:
        pid = stack.pid("broker")
        if pid is None:
            return
        stack.signal("broker", signal.SIGSTOP)
        time.sleep(5)
        os.kill(pid, signal.SIGCONT)

    with again_and_again(hold_up, (1, 2)):
        yield


@contextmanager
def full(stack: Stack) -> Iterator[None]:
    """No memory left: every write is refused, for seconds at a time."""

    def fill() -> None:
        stack.counted.broken += 1
        stack.broker.config_set("maxmemory", "1")
        time.sleep(4)
        stack.broker.config_set("maxmemory", "256mb")

    with again_and_again(fill, (0.5, 1)):
        yield


@contextmanager
def everything_ten_times(stack: Stack) -> Iterator[None]:
    """The message of each step from now on comes ten times more, also after it is done."""
    os.environ["DSLICE_BROKER_URL"] = stack.broker_url
    import workers.app
    from tasks.publish import publish

    workers.app.app.set_default()
    with stack.connect() as database:
        (before,) = database.execute("SELECT coalesce(max(id), 0) FROM svm.step").fetchone() or (0,)
    seen: set[int] = set()

    def publish_again() -> None:
        with stack.connect() as database:
            rows = [row for row in database.execute(_NEW, [before]) if row[0] not in seen]
        refs = [StepRef(Kind(kind), id, Queue(queue), batch) for id, kind, queue, batch in rows]
        seen.update(ref.id for ref in refs)
        for _ in range(TIMES):
            publish(refs)
        stack.counted.broken += bool(refs)

    with again_and_again(publish_again, (0.05, 0.2)):
        yield
