"""Alembic's environment for all three schemas; `models.database` passes connection and schema in."""

from typing import cast

from alembic import context
from sqlalchemy import Connection

from models.database import Schema, metadata, options


def run() -> None:
    attributes = context.config.attributes
    schema = cast(Schema, attributes["schema"])
    connection = cast(Connection, attributes["connection"])
    context.configure(connection=connection, target_metadata=metadata(schema), **options(schema))  # type: ignore[arg-type]
    with context.begin_transaction():
        context.run_migrations()


run()
