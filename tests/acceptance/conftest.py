"""One testbed for the whole ring, driven only through the programs that users type.

Forbidden here: importing dslice's own modules to make something happen. What a test breaks it repairs; each takes
slices of its own name.
"""

from collections.abc import Iterator

import pytest

from tests.acceptance.lab import Lab


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """3 real nodes and 12 simulated ones, with short intervals; ended at the end, with nothing left."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    lab.up()
    try:
        yield lab
    finally:
        lab.down()
