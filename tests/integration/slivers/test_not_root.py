"""The contract of slivers with root inside, where the node manager is not root but has subordinate ids: the same tests,
run by such a user."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.slivers.plainuser import PlainUser

# The driver is opened by tests in the process that runs them; it takes the ids before anything else.
_PYTEST = """
import sys
from nodemgr.slivers.drivers.choice import take_ids
take_ids("machine")
import pytest
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
"""
# A module of tests, and how many of them pass at least.
CONTRACT = {
    "test_life": 20,
    "test_root": 35,
    "test_enemy": 20,
    "test_escapes": 70,
    "test_ready": 10,
    "test_damage": 10,
}


@pytest.fixture(scope="module")
def user() -> Iterator[PlainUser]:
    with PlainUser.made() as made:
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", CONTRACT)
def test_the_contract_holds(user: PlainUser, module: str) -> None:
    file = str(Path(__file__).with_name(f"{module}.py"))
    options = ["-rs", f"--basetemp={user.home}/{module}", file]
    done = user.run([sys.executable, "-c", _PYTEST, *options], {"DSLICE_TEST_DRIVERS": "machine"})
    assert done.returncode == 0, done.stdout[-20_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= CONTRACT[module], done.stdout
