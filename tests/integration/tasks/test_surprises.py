"""What nobody expected stops no background work: the next comes, and what was dropped is found again."""

from threading import Event

from sqlalchemy import create_engine

from lifecycle.operations import Verb
from lifecycle.steps import StepRef
from models.states import Queue
from rpc.credentials import Credentials
from tasks.publish import publish
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import LONGEST, Farm, until
from workers.watchdog import Watchdog


def test_without_a_free_connection_no_step_is_lost(farm: Farm, owner: Credentials) -> None:
    name, worker_context = slice_name(), farm.process.worker_context
    farm.run(Verb.CREATESLICE, name, owner)
    whole = worker_context.database
    narrow = create_engine(whole.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    worker_context.database = narrow
    try:
        with narrow.connect():
            started = farm.start(Verb.RENEWSLICE, name, owner, actor="beat")
            until(worker_context.missed.is_set)
    finally:
        worker_context.database = whole
    assert farm.ended(started.operation).ok == 4
    narrow.dispose()
    assert worker_context.background._running == 0


def test_a_watchdog_goes_on_looking(farm: Farm) -> None:
    """Its first look begins a canary, and what is to publish it fails; then the canary waits too long."""
    begun, ended = list[StepRef](), Event()

    def fail(refs: list[StepRef]) -> None:
        begun.extend(refs)
        if refs:
            raise ValueError("nobody expected this")

    worker_context = farm.process.worker_context
    worker_context.heard = float("-inf")
    watchdog = Watchdog(farm.database, worker_context, [Queue.HOUSEKEEPING], 1, end=ended.set, publish=fail)
    watchdog.start()
    assert ended.wait(LONGEST)
    assert len(begun) == 1
    publish(begun)
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"))
