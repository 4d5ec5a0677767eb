"""What an agent counts, for Prometheus; refusals stand among its requests (`rpc/counting.py`), by route and code."""

from collections.abc import Iterator
from datetime import timedelta

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.agent import ad, ticket
from trust.clock import Clock

TICKETS = Counter("dslice_tickets", "Tickets, by what was done with them: issued, returned", ["what"])
for _what in ("issued", "returned"):
    TICKETS.labels(_what)  # a rate of nothing is 0, not unknown


class AdCollector(Collector):
    """Gauges over the agent's tables at each scrape. A database that is away yields none of them, and no error."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called at each scrape."""
        now = self._clock.now()
        live, open_ = ad.c.expires_at > now, ticket.c.expires_at > now
        lately = ad.c.expires_at > now - timedelta(days=1)
        ads = select(
            func.count().filter(lately),
            func.count().filter(live),
            func.coalesce(func.sum(ad.c.slots_free).filter(live), 0),
        )
        try:
            with self._engine.connect() as connection:
                known, alive, free = connection.execute(ads.select_from(ad)).one()
                tickets = connection.scalar(select(func.count()).select_from(ticket).where(open_)) or 0
        except (InterfaceError, OperationalError, PoolTimeoutError):
            return
        yield GaugeMetricFamily("dslice_agent_nodes", "Nodes known from advertisements of the last day", known)
        yield GaugeMetricFamily("dslice_agent_nodes_live", "Nodes whose advertisement is not yet over", alive)
        yield GaugeMetricFamily("dslice_agent_slots_free", "Free slots that they advertise", float(free))
        yield GaugeMetricFamily("dslice_agent_tickets_open", "Tickets given out and not yet redeemed", tickets)

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, so that registering asks no database."""
        return []
