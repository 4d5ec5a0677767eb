"""The start of a testbed, interrupted: it ends at once, says so, and leaves nothing running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.home import Home, Lock

INTERRUPTED = 130

# The child sends the signal to itself before it has set the parent's handlers back: as early as one can come.
EARLY = """
import os, signal, sys, time
from pathlib import Path
from testbed import forking

signal.signal(signal.SIGTERM, lambda *_: None)
setsid = os.setsid
os.setsid = lambda: (os.kill(os.getpid(), signal.SIGTERM), setsid())
child = forking.fork("child", lambda: time.sleep(60), env={}, log=Path(sys.argv[1]))
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
"""


def test_a_signal_just_after_the_fork_is_not_lost_in_the_parents_handler(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", EARLY, str(tmp_path / "log")], capture_output=True, text=True)
    assert ran.stdout == f"{-signal.SIGTERM}\n", ran.stderr


@pytest.mark.parametrize("detached", [False, True], ids=["foreground", "detached"])
def test_ctrl_c_before_it_is_up_leaves_nothing_running(tmp_path: Path, detached: bool) -> None:
    home = Home(tmp_path / "home")
    started = subprocess.Popen(
        [sys.executable, "-m", "testbed", "up", "--home", str(home.directory), *(["--detach"] if detached else [])],
        env={name: value for name, value in os.environ.items() if not name.startswith("DSLICE_")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while Lock(home).holder() is None:
        assert started.poll() is None
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == INTERRUPTED
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert Lock(home).holder() is None
    assert not [one for one in Path("/proc").glob("[0-9]*/environ") if _is_of(one, home)]


def _is_of(environ: Path, home: Home) -> bool:
    try:
        return os.fsencode(home.directory) in environ.read_bytes() + environ.with_name("cmdline").read_bytes()
    except OSError:
        return False
