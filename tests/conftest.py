"""The two real servers that integration and acceptance tests share, one start a session, in a folder of pytest's;
which tests stay together when several processes run them; an end to whatever a run leaves, and to what is stuck."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from models.database import migrate
from testbed.embedded import Postgres, Valkey
from tests.leftovers import pytest_configure  # noqa: F401 - pytest finds it here
from tests.stuck import (  # noqa: F401 - and these
    pytest_collection,
    pytest_exception_interact,
    pytest_runtest_logreport,
    pytest_runtest_protocol,
)
from tests.told import pytest_sessionstart  # noqa: F401 - and this

_numbers = count(1)

# Collecting tests makes a million objects that stay: to look for garbage among them, then and at each test, takes long.
gc.disable()

# What many tests start is compiled once, and tests themselves once for all runs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell's background job ignores Ctrl-C, and so would everything that tests start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long texts make no good names, and new keys none that processes side by side agree on."""
    return argname if isinstance(val, str | bytes) and len(val) > 60 else None


# What takes longest, in this order, before all others: of several processes none is to begin it when others are done.
LONGEST = (
    "tests/acceptance",
    "tests/integration/slivers",
    "tests/integration/slivers[podman]",
    "tests/clients",
    "tests/integration/rootless",
    "tests/acceptance/operator/test_operator.py",
    "tests/acceptance/test_faults_short.py",
)
# Folders whose files, and files that, share nothing with others of their folder.
ALONE = (
    "tests/acceptance/operator",
    "tests/acceptance/test_faults_short.py",
    "tests/acceptance/test_python_page.py",
)


def together(nodeid: str) -> str:
    """What a test stays with in one process: its folder's others, for they share what that starts once.

    Those of podman stay apart: they take as long as all other slivers', and share nothing with them.
    """
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    if folder in ALONE or file in ALONE:
        return file
    return f"{folder}[podman]" if "[podman" in nodeid else folder


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Which tests stay in one process side by side (`pytest -n 3 --dist loadscope`)."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; otherwise as they were."""
    order = {scope: place for place, scope in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(together(item.nodeid), len(order)))


def pytest_collection_finish() -> None:
    """What is there now stays; garbage is looked for again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    """As xdist's documentation has it; its own `loadgroup` does nothing with pytest 9.2."""
    gc.enable()  # this process collects nothing
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running PostgreSQL; `postgres.url("svm")` is its database with the three schemas, empty."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), scratch=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def svm_tables(postgres: Postgres) -> str:
    """The name of a database with svmd's tables, to copy: far cheaper than to migrate another (nobody may use it)."""
    postgres.create_database("svm_tables")
    migrate(postgres.url("svm", "svm_tables"), "svm")
    return "svm_tables"


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A running Valkey; `valkey.url` for Celery. Shared: name queues apart, never FLUSHALL."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def fresh_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own, to stop, start and flush (15 ms)."""
    server = Valkey(tmp_path / "fresh-valkey")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def fresh_database(postgres: Postgres) -> Iterator[Callable[..., str]]:
    """`fresh_database("svm")` → the URL of a database of this test's own, dropped at its end (0.1 s).

    `fresh_database("svm", template=svm_tables)` copies that one.
    """
    made: list[str] = []

    def make(role: str, *, template: str = "template1") -> str:
        name = f"test_{next(_numbers)}"
        postgres.create_database(name, template=template)
        made.append(name)
        return postgres.url(role, name)

    yield make
    for name in made:
        postgres.drop_database(name)
