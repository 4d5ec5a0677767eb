"""A migrated database for each test, copied from one that is migrated once. No network, no Celery here."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from models.database import engine
from tests.integration.lifecycle.world import World


@pytest.fixture
def database_url(svm_tables: str, fresh_database: Callable[..., str]) -> str:
    return fresh_database("svm", template=svm_tables)


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    made = engine(database_url, connections=30)
    yield made
    made.dispose()


@pytest.fixture
def world(database: Engine) -> World:
    """Drives operations in it."""
    return World(database)
