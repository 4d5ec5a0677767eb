"""What tests of images begin with."""

from pathlib import Path

import pytest

from admin.images.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")
