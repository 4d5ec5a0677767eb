"""One migrated database for all examples; each empties it."""

from collections.abc import Iterator

import pytest

from models.database import migrate
from testbed.embedded import SUPERUSER, Postgres
from tests.integration.machine.clock import settable
from tests.integration.machine.whole import Ground


@pytest.fixture(scope="package")
def ground(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    name = "machine"
    postgres.create_database(name)
    migrate(postgres.url("svm", name), "svm")
    migrate(postgres.url("agent", name), "agent")
    database = settable(postgres.url(SUPERUSER, name))
    yield Ground(database, tmp_path_factory.mktemp("machine"))
    database.dispose()
    postgres.drop_database(name)
