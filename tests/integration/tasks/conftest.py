"""The real things: plc, agent and simulated nodes (tests/integration/agent/lab.py), PostgreSQL, Valkey, Celery."""

from collections.abc import Iterator

import pytest

from rpc.credentials import Credentials
from testbed.embedded import Postgres, Valkey
from tests.integration.agent.lab import Lab, laboratory
from tests.integration.tasks.farm import Farm, farming


@pytest.fixture(scope="package")
def lab(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """plc, an agent and eight nodes with four places each."""
    with laboratory(postgres, tmp_path_factory.mktemp("tasks"), nodes=8) as made:
        yield made


@pytest.fixture(scope="package")
def running(lab: Lab, postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Ends with this folder's tests: its worker is a thread of this process, and would take what others publish."""
    with farming(lab, postgres, valkey, tmp_path_factory.mktemp("farm")) as made:
        yield made


@pytest.fixture
def farm(running: Farm, lab: Lab) -> Iterator[Farm]:
    """A Celery worker at work; every node behaves again afterwards, and every slice is gone."""
    lab.publish()  # a list good for minutes, however long the tests before this one took
    yield running
    lab.run(lab.population.misbehave("all", "ok"))
    running.clear()


@pytest.fixture
def owner(lab: Lab) -> Credentials:
    """A PI of this test's own."""
    return lab.user()
