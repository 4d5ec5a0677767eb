from collections.abc import AsyncIterator, Iterator

import pytest

from rpc.aio import Session
from rpc.credentials import Credentials
from testbed.embedded import Postgres
from tests.integration.agent.lab import Lab, laboratory


@pytest.fixture(scope="package")
def lab(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """plc, an agent and six nodes, shared by this folder's tests: each takes an owner and slice names of its own."""
    with laboratory(postgres, tmp_path_factory.mktemp("agent"), nodes=6) as made:
        yield made


@pytest.fixture(scope="package")
def pi(lab: Lab) -> Credentials:
    """A PI."""
    return lab.user()


@pytest.fixture
async def as_pi(lab: Lab, pi: Credentials) -> AsyncIterator[Session]:
    lab.publish()  # a list good for minutes, however long the tests before this one took
    async with lab.session(pi) as session:
        yield session


@pytest.fixture
async def as_svm(lab: Lab) -> AsyncIterator[Session]:
    lab.publish()
    async with lab.session(lab.svm_credentials) as session:
        yield session
