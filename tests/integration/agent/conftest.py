from collections.abc import Iterator

import pytest

from testbed.embedded import Postgres
from tests.integration.agent import askers
from tests.integration.agent.lab import Lab, laboratory

pi, as_pi, as_svm = askers.pi, askers.as_pi, askers.as_svm


@pytest.fixture(scope="package")
def lab(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """plc, an agent and six nodes, shared by this folder's tests: each takes an owner and slice names of its own."""
    with laboratory(postgres, tmp_path_factory.mktemp("agent"), nodes=6) as made:
        yield made
