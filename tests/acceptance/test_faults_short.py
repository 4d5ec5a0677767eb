"""The fault harness in its short form: `make faults` is the long one."""

import subprocess
import sys
from pathlib import Path


def test_nothing_is_lost_and_nothing_doubled() -> None:
    argv = [sys.executable, "-m", "tests.faults", "--short"]
    ended = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
