"""How much of each benchmark is run."""

import os

VARIABLE = "FULL"  # `make bench FULL=1` sets it


def full() -> bool:
    """Whether all sizes are wanted, however long that takes."""
    return os.environ.get(VARIABLE, "") not in ("", "0")
