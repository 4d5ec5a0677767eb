"""What the tables say in numbers, for Prometheus: read at each scrape, so that no process has to count for others.

svmd serves these and workers do not: there is one svmd and any number of workers, and a sum over all pages must not
count a lease once for each of them. What a worker itself did stands on its own page (`tasks/metrics.py`).
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from lifecycle.recovery import oldest_due

# Upper ends, in seconds, of the classes in which leases are counted by the time that is left.
LEFT = (3600, 86_400, 3 * 86_400, 7 * 86_400)
ALL = "+Inf"

_LEASES = text("""
    SELECT ends.le, count(v.left) AS number
    FROM unnest(CAST(:ends AS double precision[])) AS ends(le)
    LEFT JOIN (SELECT extract(epoch FROM expires_at - now()) AS left FROM svm.sliver
               WHERE state IN ('leased', 'running', 'stopped') AND expires_at > now()) AS v ON v.left <= ends.le
    GROUP BY ends.le ORDER BY ends.le
""")
# Two thirds of a lease are over when it is renewed: one with less than a sixth left should have been.
_ENDING = text("""
    SELECT x.autorenew, count(v.node) AS number
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    WHERE v.state = 'running' AND v.expires_at > now()
      AND v.expires_at < now() + least(interval '1 day', make_interval(secs => x.leaselen / 6))
    GROUP BY x.autorenew
""")
_CANARY = text("""
    SELECT extract(epoch FROM now() - max(ended_at)) FROM svm.operation WHERE verb = 'canary' AND outcome = 'done'
""")
_SLIVERS = text("SELECT state, count(*) AS number FROM svm.sliver GROUP BY state")
_OPEN = text("SELECT verb, count(*) AS number FROM svm.operation WHERE ended_at IS NULL GROUP BY verb")
_FINDINGS = text("SELECT what, count(*) AS number FROM svm.finding GROUP BY what")


class TableCollector(Collector):
    """Gauges over svmd's tables. A database that is away yields none of them, and no error."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called at each scrape."""
        try:
            with self._engine.connect() as connection:
                found = list(_gauges(connection))
        except (InterfaceError, OperationalError, PoolTimeoutError):
            return
        yield from found

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, so that registering asks no database."""
        return []


def _gauges(connection: Connection) -> Iterator[GaugeMetricFamily]:
    yield GaugeMetricFamily("dslice_oldest_due_step_seconds", "Waited by the oldest due step", oldest_due(connection))
    canary = connection.scalar(_CANARY)
    if canary is not None:
        yield GaugeMetricFamily("dslice_canary_age_seconds", "Since the last canary came back", float(canary))
    yield _leases(connection)
    yield _ending(connection)
    for name, help_, label, query in (
        ("dslice_slivers", "Slivers by state", "state", _SLIVERS),
        ("dslice_operations_open", "Operations under way, by verb", "verb", _OPEN),
        ("dslice_findings", "Orphans and missing slivers", "what", _FINDINGS),
    ):
        gauge = GaugeMetricFamily(name, help_, labels=[label])
        for row in connection.execute(query):
            gauge.add_metric([row[0]], row.number)
        yield gauge


def _leases(connection: Connection) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("dslice_leases", "Leases with at most le seconds left", labels=["le"])
    for row in connection.execute(_LEASES, {"ends": [*map(float, LEFT), float("inf")]}):
        gauge.add_metric([str(int(row.le)) if row.le in LEFT else ALL], row.number)
    return gauge


def _ending(connection: Connection) -> GaugeMetricFamily:
    found = {row.autorenew: row.number for row in connection.execute(_ENDING)}
    gauge = GaugeMetricFamily(
        "dslice_leases_ending",
        "Running VMs with less than a day (or a sixth of a shorter lease) left, by whether autorenew should have acted",
        labels=["autorenew"],
    )
    for label, on in (("on", True), ("off", False)):
        gauge.add_metric([label], found.get(on, 0))
    return gauge
