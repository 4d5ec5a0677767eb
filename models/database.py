"""Engines, schemas and their migrations: one database, three owners.

`plc`, `agent` and `svm` are schemas of one PostgreSQL database (or of three); each has its tables in
`models/<schema>.py`, its revisions in `models/migrations/versions/<schema>/` and its own version table.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from sqlalchemy import Connection, Engine, MetaData, create_engine, make_url, text
from sqlalchemy.schema import CreateSchema

from models.outage import in_one_line

if TYPE_CHECKING:  # alembic is imported by those who migrate: with what it needs it takes a tenth of a second
    from alembic.config import Config

Schema = Literal["plc", "agent", "svm"]
SCHEMAS: tuple[Schema, ...] = get_args(Schema)

VERSION_TABLE = "alembic_version"
IDLE = {"idle_in_transaction_session_timeout": "15s", "idle_session_timeout": "10min"}  # PostgreSQL ends what is idle
LOCK_TIMEOUT = 10  # seconds that a migration waits for a table in use before it gives up
ADVISORY_LOCK = 0x64736C69  # "dsli": two daemons that start at once migrate one after the other

# Constraint names must be the same in the models and in the revisions, or `check` sees differences.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata(schema: Schema) -> MetaData:
    """The MetaData for `models/<schema>.py`; that module must call it `metadata`."""
    return MetaData(schema=schema, naming_convention=NAMES)


def metadata(schema: Schema) -> MetaData:
    """All tables of one schema (imports `models.<schema>`)."""
    return cast(MetaData, import_module(f"models.{schema}").metadata)


def engine(url: str, *, connections: int = 15) -> Engine:
    """An engine that survives restarts of PostgreSQL and never waits for a dead server longer than 5 s to connect.

    `url` is a libpq URL or SQLAlchemy's; the driver is psycopg.

    `connections`: at most. One that was opened stays until nobody has needed it for ten minutes: a new one costs
    PostgreSQL a process, which has to plan all statements again (docs/adr/0061-connections-to-postgresql-stay-open.md).

    Sessions run in UTC. A transaction that a stopped process left open gives its locks back after 15 s.
    """
    # Tables are always named with their schema; a role whose own schema came first would confuse alembic's comparison.
    options = {"search_path": "public", "timezone": "UTC", "lock_timeout": "20s", **IDLE}
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=connections,
        max_overflow=0,
        pool_use_lifo=True,  # so that those that are not needed have nothing to do
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "options": _said(options),
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
        },
    )


def _said(options: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in options.items())


def migrate(url: str, schema: Schema) -> None:
    """Bring one schema to its newest revision, in one transaction; safe when several processes start at once.

    Raises Refusal as ``models.outage.in_one_line``.
    """
    from alembic import command

    found = engine(url, connections=1)
    try:
        with in_one_line(schema), found.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _lock_id(schema)})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))
            _create_schema(connection, schema)
            command.upgrade(config(schema, connection), "head")
    finally:
        found.dispose()


def outdated(connection: Connection, schema: Schema) -> bool | None:
    """Whether a schema's tables are of an earlier revision than this program's; None where there are none.

    Raises CommandError for a revision that this program does not have (`models.outage.in_one_line` says so).
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    found = MigrationContext.configure(connection, opts=options(schema)).get_current_revision()
    if found is None:
        return None
    revisions = ScriptDirectory.from_config(config(schema, connection))
    revisions.get_revision(found)
    return found != revisions.get_current_head()


def check(url: str, schema: Schema) -> list[str]:
    """What `alembic check` would say of one schema: the differences between tables and models, empty when none."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    found = engine(url, connections=1)
    try:
        with found.connect() as connection:
            context = MigrationContext.configure(connection, opts=options(schema))
            return [str(difference) for difference in compare_metadata(context, metadata(schema))]
    finally:
        found.dispose()


def options(schema: Schema) -> dict[str, object]:
    """Alembic's options for one schema; `models/migrations/env.py` uses the same."""

    def include_name(name: str | None, kind: str, parents: object) -> bool:
        del parents
        return name == schema if kind == "schema" else name != VERSION_TABLE

    return {
        "include_schemas": True,
        "include_name": include_name,
        "version_table": VERSION_TABLE,
        "version_table_schema": schema,
        "compare_type": True,
        "compare_server_default": True,
    }


def config(schema: Schema, connection: Connection) -> "Config":
    """Alembic's configuration without a file: the caller's connection and schema travel in `attributes`."""
    from alembic.config import Config

    found = Config()
    found.set_main_option("script_location", _escape(Path(__file__).parent / "migrations"))
    found.set_main_option("path_separator", "newline")
    found.set_main_option("version_locations", _escape(_versions(schema)))
    found.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    found.attributes.update(connection=connection, schema=schema)
    return found


def _create_schema(connection: Connection, schema: Schema) -> None:
    # CREATE SCHEMA IF NOT EXISTS asks for a right on the database that a service's role need not have.
    if not connection.scalar(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": schema}):
        connection.execute(CreateSchema(schema))


def _lock_id(schema: Schema) -> int:
    return ADVISORY_LOCK * 256 + SCHEMAS.index(schema)


def _versions(schema: Schema) -> Path:
    return Path(__file__).parent / "migrations" / "versions" / schema


def _escape(path: Path) -> str:
    return str(path).replace("%", "%%")
