from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.nodemgr.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh node."""
    made = World(tmp_path)
    yield made
    made.store.close()
