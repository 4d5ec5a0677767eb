"""One clock for Python and SQL, which stands still until the test moves it; and no chance in SQL.

An example must come out the same each time: Hypothesis gives up on others.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, create_engine, text

from tests.unit.trust.factories import NOW

# Found before pg_catalog's by the search path of `settable`.
_FUNCTIONS = """
CREATE SCHEMA clock;
CREATE TABLE clock.hand (at timestamptz NOT NULL);
INSERT INTO clock.hand SELECT pg_catalog.now();
CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM clock.hand';
CREATE FUNCTION clock.random() RETURNS double precision LANGUAGE sql IMMUTABLE AS 'SELECT 0.5::double precision';
CREATE SEQUENCE clock.ids;
CREATE FUNCTION clock.next_id() RETURNS uuid LANGUAGE sql AS
    $$ SELECT lpad(to_hex(nextval('clock.ids')), 32, '0')::uuid $$;
"""
_DEFAULTS = """
    SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I SET DEFAULT clock.%s()', table_schema, table_name, column_name,
        CASE column_default WHEN 'gen_random_uuid()' THEN 'next_id' ELSE 'now' END)
    FROM information_schema.columns
    WHERE table_schema IN ('svm', 'agent') AND column_default IN ('now()', 'gen_random_uuid()')
"""
_SEARCH_PATH = "-c search_path=clock,pg_catalog,public -c timezone=UTC -c lock_timeout=20s"


def settable(url: str) -> Engine:
    """An engine for a migrated database in which every now() is the test's. `url` is the superuser's."""
    made = create_engine(url, pool_size=2, connect_args={"options": _SEARCH_PATH})
    with made.begin() as connection:
        connection.execute(text(_FUNCTIONS))
        for statement in connection.scalars(text(_DEFAULTS)).all():
            connection.execute(text(statement))
    return made


@dataclass
class OneClock:
    """Implements `trust.clock.Clock`; `database` follows at each move."""

    database: Engine
    time: datetime = NOW

    def now(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        self.set(self.time + timedelta(seconds=seconds))

    def set(self, moment: datetime) -> None:
        self.time = moment
        with self.database.begin() as connection:
            connection.execute(text("UPDATE clock.hand SET at = :at"), {"at": moment})
