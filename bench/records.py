"""Steps recorded a second: group commit against a transaction for each step, on a PostgreSQL that flushes to disk.

The baseline is what a worker without a writer would do: each pool thread commits its own record.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import BoundedSemaphore

from sqlalchemy import Engine

from bench.tools.tables import Table
from lifecycle.operations import OperationRequest, SliceSpec, Verb, start
from lifecycle.outcome import Done, Granted, Record, claim
from lifecycle.record import record
from lifecycle.writer import Writer
from models.database import engine, migrate
from testbed.embedded import Postgres
from trust.identity import Identity

STEPS = 1000
THREADS = 32  # more of them only wait for the processor
IN_FLIGHT = 128
ROUNDS = 3
OWNER = Identity.user("bench@example.org")


def main() -> Sequence[Table]:
    with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as found:
        one_by_one, grouped = [], []
        for number in range(ROUNDS):  # in turns, so that other load on the machine hits both
            one_by_one.append(timed(each_its_own, found, f"one{number}"))
            grouped.append(timed(by_the_writer, found, f"group{number}"))
    base, group = statistics.median(one_by_one), statistics.median(grouped)
    rows = [
        (f"a transaction each, {THREADS} threads", STEPS / base, 1.0),
        (f"group commit, {IN_FLIGHT} in flight", STEPS / group, base / group),
    ]
    title = f"{STEPS} newleases steps of one operation, median of {ROUNDS}"
    return [Table("records", title, ("", "steps/s", "ratio"), rows)]


def each_its_own(found: Engine, records: list[Record]) -> None:
    """Every thread commits its record."""

    def write(item: Record) -> None:
        with found.begin() as connection:
            record(connection, [item])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, records))


def by_the_writer(found: Engine, records: list[Record]) -> None:
    """As many steps as IN_FLIGHT wait for their commits at once, as coroutines of one loop do."""
    writer, window = Writer(found, lambda refs: None), BoundedSemaphore(IN_FLIGHT)
    writer.start()
    futures = []
    for item in records:
        window.acquire()
        futures.append(writer.submit(item))
        futures[-1].add_done_callback(lambda _: window.release())
    writer.stop()
    assert all(future.result().ours for future in futures)


def timed(work: Callable[[Engine, list[Record]], None], found: Engine, name: str) -> float:
    """Seconds for STEPS records of a new operation."""
    records = claimed(found, name)
    began = time.perf_counter()
    work(found, records)
    return time.perf_counter() - began


def claimed(found: Engine, name: str) -> list[Record]:
    """STEPS claimed newleases steps, with what their nodes answered."""
    end = datetime.now(UTC) + timedelta(hours=1)
    wanted = OperationRequest(Verb.CREATESLICE, name, OWNER, spec=SliceSpec(STEPS, 3600), parallelism=STEPS)
    with found.begin() as connection:
        started = start(connection, wanted)
    with found.begin() as connection:
        (ticket,) = claim(connection, [ref.id for ref in started.publish], seconds=75)
    nodes = [f"10.0.{number // 250}.{number % 250}" for number in range(STEPS)]
    tickets = tuple(Granted(n, n, f"https://{n}", "agent", (n, 22, "key"), "jti", "t" * 900, end) for n in nodes)
    with found.begin() as connection:
        refs = record(connection, [Record(ticket, Done(tickets=tickets))])[1]
    with found.begin() as connection:
        claims = claim(connection, [ref.id for ref in refs], seconds=75)
    return [Record(one, Done(lease="l" * 900, generation=1, expires_at=end)) for one in claims]


@contextmanager
def database(folder: Path) -> Iterator[Engine]:
    """A migrated one of its own."""
    server = Postgres(folder / "postgres")
    server.start()
    try:
        migrate(server.url("svm"), "svm")
        found = engine(server.url("svm"), connections=THREADS + 2)
        yield found
        found.dispose()
    finally:
        server.stop()
