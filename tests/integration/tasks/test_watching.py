"""What a worker shows: numbers, a watchdog, logs with ids and without secrets."""

import logging
import time

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.registry import CollectorRegistry

from lifecycle.metrics import TableCollector
from lifecycle.operations import Verb
from models.states import Queue
from rpc.credentials import Credentials
from tasks.publish import publish
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from workers.watchdog import Watchdog


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_steps_are_counted(farm: Farm, owner: Credentials) -> None:
    def counted() -> tuple[float, float]:
        return count("dslice_steps_total", kind="newvms", outcome="done"), count("dslice_running_seconds_count")

    steps, running = counted()
    farm.run(Verb.CREATESLICE, slice_name(), owner)
    until(lambda: counted() == (steps + 4, running + 4))  # a step is counted once its end is recorded


def test_tables_are_shown_as_numbers(farm: Farm, owner: Credentials) -> None:
    farm.run(Verb.CREATESLICE, slice_name(), owner)
    registry = CollectorRegistry()
    registry.register(TableCollector(farm.database))
    found = generate_latest(registry).decode()
    assert 'dslice_slivers{state="running"} 4.0' in found
    assert 'dslice_leases{le="3600"} 4.0' in found
    assert "dslice_oldest_due_step_seconds 0.0" in found


def test_a_deaf_worker_ends_itself(farm: Farm, owner: Credentials) -> None:
    worker_context, ends = farm.process.worker_context, []
    watchdog = Watchdog(farm.database, worker_context, [Queue.RENEWALS], 100, end=lambda: ends.append(1))
    assert not watchdog.is_deaf()
    worker_context.heard = time.monotonic() - 200
    assert not watchdog.is_deaf()  # nothing waits
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    started = farm.start(Verb.RENEWSLICE, name, owner, publish=False, actor="beat")
    farm.execute(
        "UPDATE svm.step SET created_at = now() - interval '200 s', next_run_at = now() - interval '200 s' "
        "WHERE operation = :o",
        o=started.operation,
    )
    worker_context.heard = time.monotonic() - 200
    assert not Watchdog(farm.database, worker_context, [Queue.INTERACTIVE], 100).is_deaf()  # another's queue
    assert not Watchdog(farm.database, worker_context, [Queue.RENEWALS], 0).is_deaf()  # switched off
    assert watchdog.is_deaf()
    worker_context.heard = time.monotonic()
    assert not watchdog.is_deaf()
    publish(started.publish)
    assert farm.ended(started.operation).ok == 4


def test_logs_and_messages_name_steps_and_show_no_secret(
    farm: Farm, owner: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    """I6, from what the worker logs at its most talkative."""
    name = slice_name()
    with caplog.at_level(logging.INFO), caplog.at_level(logging.DEBUG, "tasks.step"):
        farm.run(Verb.CREATESLICE, name, owner)
        secrets = farm.rows(
            "SELECT v.ticket, v.lease, x.working FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice "
            "WHERE x.name = :n",
            n=name,
        )
    shown = caplog.text
    assert "step done in" in shown
    for row in secrets:
        for secret in row:
            assert not secret or secret not in shown
    assert "PRIVATE" not in shown
