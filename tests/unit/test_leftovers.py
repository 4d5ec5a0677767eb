"""A run that is killed leaves nothing running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.leftovers import marked, now

# A test with a child in a session of its own, in whose environment may be nothing of the run but its folder.
TEST = """
import os, subprocess, time

def test(tmp_path):
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} if os.environ["CHILD"] == "a user's" else None
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True, env=env)
    os.write(int(os.environ["TOLD"]), f"{child.pid}\\n".encode())
    time.sleep(1000)
"""


# A test with a child that holds whatever this process has open.
FORKS = """
import os, time

def test():
    child = os.fork()
    if not child:
        time.sleep(1000)
    os.write(int(os.environ["TOLD"]), f"{child}\\n".encode())
"""


@contextmanager
def begun(tmp_path: Path, test: str, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run of that test alone, and the pid that it tells."""
    root = Path(__file__).parents[2]
    (tmp_path / "test_it.py").write_text(test)
    (tmp_path / "conftest.py").write_text("from tests.leftovers import pytest_configure\n")
    read, write = os.pipe()
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "-W",
        "ignore",
        "--rootdir",
        ".",
    ]
    run = subprocess.Popen(
        [*argv, "--basetemp", str(tmp_path / "base"), "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "TOLD": str(write), **variables},
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
    )
    os.close(write)
    with open(read) as told:
        child = int(told.readline())
    try:
        yield run, child
    finally:
        run.kill()
        run.wait()


@pytest.mark.parametrize("environment", ["the test's", "a user's"])
def test_what_a_killed_run_started_ends(tmp_path: Path, environment: str) -> None:
    with begun(tmp_path, TEST, CHILD=environment) as (_, child):
        pass
    end = time.monotonic() + 60
    while runs(child):
        assert time.monotonic() < end, "it is still there"
        time.sleep(0.05)


def test_a_run_ends_though_a_child_of_it_lives(tmp_path: Path) -> None:
    with begun(tmp_path, FORKS) as (run, child):
        try:
            assert run.wait(60) == 0
        finally:
            os.kill(child, signal.SIGKILL)


def runs(pid: int) -> bool:
    """A process that nobody has waited for has no environment any more."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() != b""
    except OSError:
        return False


def test_what_began_after_the_run_is_another_runs(tmp_path: Path) -> None:
    """It may have a folder of the same name."""
    folder, before = f"{tmp_path}/", now()
    with subprocess.Popen(["sleep", "1000"], env={"HOME": folder}) as child:
        try:
            while not Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(b"sleep"):
                time.sleep(0.01)
            assert child.pid not in set(marked("no such mark", folder, before - 1))
            assert child.pid in set(marked("no such mark", folder, now()))
            assert child.pid in set(marked(folder, "no such folder", before - 1))
        finally:
            child.kill()
