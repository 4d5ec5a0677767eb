"""Slivers of each driver whose limits are the node manager's own work (podman brings its own)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.slivers.conftest import Node, open_node


@pytest.fixture(params=("machine", "bubblewrap", "unshare"))
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A node for each driver, empty."""
    with open_node(request.param, tmp_path, None) as made:
        yield made
