"""The testbed as a user at a shell has it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PI, OTHER_PI, USER, NEWCOMER = (f"{name}@testbed.example" for name in ("pi", "pi2", "user", "new"))
REAL, SIMULATED = 3, 12

# As in docs/protocol.md, "The command line".
DONE, FAILED, USAGE, SOME_FAILED, NOT_ALLOWED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

SHORT = {
    "DSLICE_SWEEP_SECONDS": "1",
    "DSLICE_PUBLISH_AGAIN_SECONDS": "2",
    "DSLICE_RETRIES": "1",
    "DSLICE_RETRY_WITHIN": "4",
    "DSLICE_STEP_SECONDS": "10",
    "DSLICE_CLAIM_SLACK_SECONDS": "10",  # with the above: when the claim of a dead worker lapses
}


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    argv: Sequence[str]
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def successes(self) -> list[str]:
        """The nodes of `Success on IP` lines."""
        return re.findall(r"^Success on (\S+?):?(?: .*)?$", self.out, re.MULTILINE)

    @property
    def errors(self) -> dict[str, str]:
        """The nodes of `Error on IP: reason` lines, each with its reason."""
        return dict(re.findall(r"^Error on (\S+): (.*)$", self.out, re.MULTILINE))

    def must(self, status: int = DONE) -> "Ran":
        """Itself, if it ended so."""
        assert self.status == status, f"{shlex.join(self.argv)} ended with {self.status}\n{self.out}\n{self.err}"
        return self


@dataclass(slots=True)
class Lab:
    """A running testbed in `folder`, with the addresses of its nodes."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    real: list[str] = field(default_factory=list)
    simulated: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def up(self, real: int = REAL, simulated: int = SIMULATED, **more: str) -> None:
        """With so many nodes; `more`: settings of every daemon."""
        self.prepare(**more)
        self.dslice("up", "--detach", "--nodes", str(real), "--simulated", str(simulated)).must()
        rows = self.ps()
        self.real = [row["nodes"][0] for row in rows if re.fullmatch(r"n\d+", row["name"])]
        self.simulated = [node for row in rows if row["name"].startswith("sim") for node in row["nodes"]]

    def prepare(self, **more: str) -> None:
        """The shell of a testbed that is not up yet."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSLICE_", "PLANETLAB_", "SSH_"))}
        (self.folder / "user").mkdir()
        path = f"{BIN}:{os.environ['PATH']}"
        self.env = {
            **kept,
            **SHORT,
            **more,
            "DSLICE_HOME": str(self.home),
            "HOME": str(self.folder / "user"),
            "PATH": path,
        }

    def down(self) -> None:
        pids = [row["pid"] for row in self.ps()]
        self.dslice("down").must()
        assert not [pid for pid in pids if is_running(pid)]

    def ps(self) -> list[dict[str, Any]]:
        """`dslice ps --json`."""
        found: list[dict[str, Any]] = json.loads(self.dslice("ps", "--json").must().out)
        return found

    def dslice(self, *words: str) -> Ran:
        return self.run("dslice", *words)

    def svm(self, *words: str, user: str = PI, typed: str | None = None) -> Ran:
        return self.run("svm", *words, user=user, typed=typed)

    def run(self, *argv: str, user: str = PI, typed: str | None = None, **env: str) -> Ran:
        """Any command, in the shell of `user`, with `typed` on its stdin."""
        ended = subprocess.run(
            argv,
            env=self._shell(user, env),
            cwd=self.folder,
            input=typed or "",
            capture_output=True,
            text=True,
            timeout=170,
        )
        return Ran(argv, ended.returncode, ended.stdout, ended.stderr)

    def begin(self, *argv: str, user: str = PI) -> "subprocess.Popen[str]":
        """A command in the background, as a terminal's shell starts one: Ctrl-C reaches it."""
        return subprocess.Popen(
            argv,
            env=self._shell(user, {}),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def slice_file(self, name: str, numnodes: int, ips: Sequence[str] = (), leaselen: int = 3600) -> str:
        """Write NAME.xml; its name."""
        preferred = f"<ips>{' '.join(ips)}</ips>" if ips else ""
        text = (
            f'<?xml version="1.0"?>\n<slice><name>{name}</name><numnodes>{numnodes}</numnodes>'
            f"<leaselen>{leaselen}</leaselen>{preferred}</slice>\n"
        )
        (self.folder / f"{name}.xml").write_text(text)
        return f"{name}.xml"

    def key(self, name: str) -> str:
        """A new pair of SSH keys, NAME and NAME.pub; its name, which no other test may take."""
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name).must()
        return name

    def create(self, name: str, ips: Sequence[str], user: str = PI, leaselen: int = 3600) -> Ran:
        """`svm createslice` on exactly these nodes."""
        return self.svm("createslice", self.slice_file(name, len(ips), ips, leaselen), user=user)

    def fault(self, node: str, fault: str) -> None:
        self.dslice("fault", node, fault).must()

    def letter(self, to: str, subject: str) -> None:
        """Wait until this letter has come; plc sends from an outbox, a moment after it has answered."""

        def has_come() -> bool:
            found = json.loads(self.dslice("mail", "--json").must().out)
            return any(to in letter["to"] and subject in letter["subject"] for letter in found)

        until(has_come)

    def typed_again(self, ran: Ran) -> list[list[str]]:
        """The commands that a failed one printed for trying again, as words."""
        _, _, hints = ran.err.partition("Try again with:")
        return [shlex.split(line) for line in re.findall(r"^\s*(svm .*)$", hints.partition("Or take")[0], re.MULTILINE)]

    def _shell(self, user: str, more: dict[str, str]) -> dict[str, str]:
        return {**self.env, "PLANETLAB_HOME": str(self.home / "users" / user), **more}


def first_line(process: "subprocess.Popen[str]") -> str:
    """The first thing that it prints, once it does; not a byte more, for `communicate` has only what is still in the
    pipe."""
    assert process.stdout
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
        line += byte
    return line.decode()


def interrupt(process: "subprocess.Popen[str]") -> Ran:
    """Ctrl-C."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Ran(
        list(map(str, process.args)) if isinstance(process.args, list | tuple) else [], process.returncode, out, err
    )


def until(condition: Callable[[], bool], longest: int = 90) -> None:
    """Wait for it; the test fails when it does not come."""
    deadline = time.monotonic() + longest
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
