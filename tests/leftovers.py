"""Ends what a test run that was killed, or interrupted in its middle, has left running.

`pytest_configure` starts it beside each run: `python -m tests.leftovers MARK FOLDER/`. It waits for a line, which says
that the run is done, or for the end of its parent, which was killed then. It then ends every process that has MARK or
FOLDER in its environment, or that is a sliver with files in FOLDER: slivers do not inherit an environment, and outlive
the node manager that made them. What began later is left alone, unless it has MARK: pytest gives the name of a folder
that is gone to the next run.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

GRACE_SECONDS = 3  # what is about to end by itself
TERM_SECONDS = 30  # what ends its own children first, such as a testbed


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """However this run ends, what it has started ends with it."""
    if hasattr(config, "workerinput"):  # one of several processes: the first one has done it
        return
    outside = dict(os.environ)
    mark = os.environ["DSLICE_TEST_RUN"] = uuid.uuid4().hex
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # no public way outside a test
    argv = [sys.executable, "-m", "tests.leftovers", mark, f"{folder}/"]
    root = Path(__file__).parents[1]
    beside = subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=root, env=outside, start_new_session=True)

    def ended() -> None:
        beside.communicate(b"\n")  # closing alone is no sign: what the run has forked may hold the pipe, too

    config.add_cleanup(ended)


def now() -> int:
    """Ticks since the machine's start, in which the kernel tells when a process began."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def marked(mark: str, folder: str, latest: int) -> Iterator[int]:
    """Pids of the run's processes, but for this one; those known by FOLDER alone began at `latest` or before."""
    own = os.readlink("/proc/self/ns/mnt")
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            inside = os.readlink(place / "ns/mnt") != own and folder.encode() in (place / "mountinfo").read_bytes()
            environment = (place / "environ").read_bytes()  # a user's has only the folder: tests/acceptance/lab.py
            began = int((place / "stat").read_text().rpartition(")")[2].split()[19])
            known = inside or folder.encode() in environment
            if (mark.encode() in environment or (known and began <= latest)) and int(place.name) != os.getpid():
                yield int(place.name)


def end(mark: str, folder: str, latest: int, number: signal.Signals, seconds: float) -> bool:
    """Send `number` to what there is; whether all of it was gone within `seconds`."""
    for pid in marked(mark, folder, latest):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    until = time.monotonic() + seconds
    while any(marked(mark, folder, latest)):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def wait_for_the_run() -> None:
    """Until it has said that it is done, or is gone."""
    waiting = select.poll()
    waiting.register(sys.stdin)
    with contextlib.suppress(ProcessLookupError):
        waiting.register(os.pidfd_open(os.getppid()), select.POLLIN)
        waiting.poll()


def main() -> None:
    """Waits for the end of the run; SIGTERM, and SIGKILL to what does not heed it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run
    mark, folder = sys.argv[1:]
    wait_for_the_run()
    latest = now()
    until = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < until and any(marked(mark, folder, latest)):
        time.sleep(0.1)
    for pid in marked(mark, folder, latest):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            sys.stderr.write(f"left running by the tests, ended now: {pid} {command[:200]}\n")
    if not end(mark, folder, latest, signal.SIGTERM, TERM_SECONDS):
        end(mark, folder, latest, signal.SIGKILL, TERM_SECONDS)


if __name__ == "__main__":
    main()
