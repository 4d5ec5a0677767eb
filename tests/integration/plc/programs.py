"""`plkeygen` and `pluserinfo` as a user runs them: processes with a key directory and, where it matters, a terminal."""

import contextlib
import io
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from svm.cli_errors import run
from svm.plkeygen import plkeygen
from svm.pluserinfo import pluserinfo
from tests.integration.plc.conftest import Running


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


@dataclass
class Laptop:
    """Where somebody types: an environment and a key directory."""

    plc: Running
    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    vouched: bool = True

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("DSLICE_", "PLANETLAB_"))}
        vouched = {"DSLICE_CA_FINGERPRINT": self.plc.ca_fingerprint} if self.vouched else {}
        said = {"PLANETLAB_HOME": str(self.home), "DSLICE_PLC_URL": self.plc.url}
        return {**ours, **said, **vouched, **self.environment}

    def run(self, program: str, *words: str, stdin: str = "") -> Ended:
        """In this process, which is ten times as fast as starting another: the console script without its start."""
        command = {"plkeygen": plkeygen, "pluserinfo": pluserinfo}[program]
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self._environment(), clear=True),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = run(command, program, list(words))
        return Ended(status, out.getvalue(), err.getvalue())

    def started(self, program: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """As a process of its own."""
        command = [sys.executable, "-m", f"svm.{program}", *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=self._environment(), timeout=60)

    def plkeygen(self, *words: str, stdin: str = "") -> Ended:
        return self.run("plkeygen", *words, stdin=stdin)

    def pluserinfo(self, *words: str, stdin: str = "") -> Ended:
        return self.run("pluserinfo", *words, stdin=stdin)

    def at_terminal(self, program: str, *words: str, answers: dict[str, str]) -> tuple[int, str]:
        """Run it at a terminal; each prompt is answered when it appears. Exit status and the whole screen."""
        pid, master = pty.fork()
        if pid == 0:
            command = [sys.executable, "-m", f"svm.{program}", *words]
            os.execve(sys.executable, command, self._environment())  # noqa: S606 - no shell is wanted
        screen, waiting, end = "", dict(answers), time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                data = os.read(master, 4096)
            except OSError:  # EIO: the program has gone
                break
            screen += data.decode()
            for prompt in [prompt for prompt in waiting if screen.endswith(f"{prompt}: ")]:
                os.write(master, f"{waiting.pop(prompt)}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.close(master)
        return os.waitstatus_to_exitcode(status), screen.replace("\r\n", "\n")
