"""Who asks, in the tests of an agent and of node managers: fixtures over each folder's own `lab`."""

from collections.abc import AsyncIterator

import pytest

from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab


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
