"""What failed and what was slow stands in the output before the summary does."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
from tests import told
from tests.told import pytest_sessionstart

told.SLOW_SECONDS = 0.2
"""
TESTS = """
import time

def test_good(): pass

def test_bad(): assert "this" == "that", "they differ"

def test_slow(): time.sleep(0.5)
"""


def test_what_failed_and_what_was_slow(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "test_it.py"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    at_once = done.stdout.partition("= FAILURES =")[0]
    assert "test_it.py::test_bad: failed, in its call: AssertionError: they differ\n" in at_once
    assert "test_it.py::test_slow: call took " in at_once
    assert "test_good: " not in at_once
