"""What the tables say in numbers, for Prometheus: read at each scrape, so that no process has to count for others."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from models.sweeps import oldest_due

# Upper ends, in seconds, of the classes in which leases are counted by the time that is left.
LEFT = (3600, 86_400, 3 * 86_400, 7 * 86_400)

_LEASES = text("""
    SELECT extract(epoch FROM expires_at - now()) AS left FROM svm.sliver
    WHERE state IN ('leased', 'running') AND expires_at > now()
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
                yield from list(_gauges(connection))
        except SQLAlchemyError:
            return

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, so that registering asks no database."""
        return []


def _gauges(connection: Connection) -> Iterator[GaugeMetricFamily]:
    yield GaugeMetricFamily("dslice_oldest_due_step_seconds", "Waited by the oldest due step", oldest_due(connection))
    yield _leases(connection)
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
    left = [float(value) for value in connection.scalars(_LEASES)]
    gauge = GaugeMetricFamily("dslice_leases", "Leases with at most le seconds left", labels=["le"])
    for end in LEFT:
        gauge.add_metric([str(end)], sum(value <= end for value in left))
    gauge.add_metric(["+Inf"], len(left))
    return gauge
