"""A test process that nothing else ends is ended, and says where it stood."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
from tests import stuck
from tests.stuck import (
    pytest_collection, pytest_exception_interact, pytest_runtest_logreport, pytest_runtest_protocol
)

stuck.GRACE_SECONDS = stuck.SILENT_SECONDS = 9
"""
CLEARING_UP = """
import threading, time, pytest

@pytest.fixture
def never():
    yield
    threading.Event().wait()

def test_it(never):
    time.sleep(1000)
"""
AT_THE_END = """
import threading
from tests.stuck import alarm

def never():
    threading.main_thread().join()
    alarm.set(1)
    threading.Event().wait()

def test_it():
    threading.Thread(target=never).start()
"""


BESIDE = """
import faulthandler, signal, threading

def test_it():
    faulthandler.cancel_dump_traceback_later()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    threading.Event().wait()
"""


def run(folder: Path, test: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(CONFTEST)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(
        [*argv, "-o", "timeout=1", *more, "test_it.py"], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_test_that_has_failed_and_does_not_clear_up(tmp_path: Path) -> None:
    done = run(tmp_path, CLEARING_UP)
    assert done.returncode == 1
    assert "Timeout (0:00:10)!" in done.stderr
    assert "in never\n" in done.stderr


def test_a_run_that_is_done_and_does_not_exit(tmp_path: Path) -> None:
    done = run(tmp_path, AT_THE_END)
    assert "1 passed" in done.stdout
    assert done.returncode == 1
    assert "in _shutdown\n" in done.stderr


def test_a_process_that_says_nothing_any_more(tmp_path: Path) -> None:
    """It cannot even end itself; the one that waits for it does."""
    done = run(tmp_path, BESIDE, "-n", "1")
    assert done.returncode == 1
    assert "Timeout (0:00:09)!" in done.stderr
