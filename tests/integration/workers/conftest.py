"""Workers, beat and Flower as processes of their own; plc, agent and simulated nodes as in tests/integration/tasks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rpc.credentials import Credentials
from testbed.embedded import Postgres, Valkey
from tests.integration.agent.lab import Lab, laboratory
from tests.integration.workers.crew import Crew, gathered


@pytest.fixture(scope="package")
def lab(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with laboratory(postgres, tmp_path_factory.mktemp("workers"), nodes=8) as made:
        yield made


@pytest.fixture
def crew(
    lab: Lab,
    postgres: Postgres,
    svm_tables: str,
    fresh_database: Callable[..., str],
    fresh_valkey: Valkey,
    tmp_path: Path,
) -> Iterator[Crew]:
    lab.publish()  # a list good for minutes, however long the tests before this one took
    with gathered(lab, postgres, fresh_database("svm", template=svm_tables), fresh_valkey, tmp_path) as made:
        yield made


@pytest.fixture
def owner(lab: Lab) -> Credentials:
    return lab.user()
