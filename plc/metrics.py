"""What plc says in numbers, for Prometheus; its requests are counted in `rpc/counting.py`."""

from collections.abc import Iterator
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.plc import certificate, certificate_request, letter, revocation_list
from trust.clock import Clock


class TableCollector(Collector):
    """Over plc's tables at each scrape. A database that is away yields nothing, and no error."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        try:
            with self._engine.connect() as connection:
                found = list(self._read(connection))
        except (InterfaceError, OperationalError, PoolTimeoutError):
            return
        yield from found

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks no database."""
        return []

    def _read(self, connection: Connection) -> Iterator[Metric]:
        signed = connection.scalar(select(revocation_list.c.signed_at))
        if signed is not None:
            age = (self._clock.now() - signed).total_seconds()
            yield GaugeMetricFamily("dslice_plc_crl_age_seconds", "Since the revocation list was signed", age)
        valid = GaugeMetricFamily(
            "dslice_plc_certificates", "Certificates that have not ended, by role", labels=["role"]
        )
        good = select(certificate.c.role, func.count()).where(certificate.c.not_after > self._clock.now())
        for role, number in connection.execute(good.group_by(certificate.c.role)):
            valid.add_metric([role], number)
        yield valid
        lost = select(func.count()).select_from(letter).where(letter.c.given_up_at.is_not(None))
        lost = lost.where(letter.c.written_at > self._clock.now() - timedelta(days=30))
        lately = "Letters of the last 30 days that the mail server would not take"
        yield GaugeMetricFamily("dslice_plc_letters_given_up", lately, connection.scalar(lost) or 0)
        waiting = select(func.count()).select_from(letter)
        waiting = waiting.where(letter.c.sent_at.is_(None), letter.c.given_up_at.is_(None))
        yield GaugeMetricFamily("dslice_plc_letters_waiting", "Letters not yet sent", connection.scalar(waiting) or 0)
        asked = select(func.count()).select_from(certificate_request).where(certificate_request.c.state == "pending")
        pending = connection.scalar(asked) or 0
        yield GaugeMetricFamily("dslice_plc_requests_pending", "Certificate requests that nobody decided", pending)
