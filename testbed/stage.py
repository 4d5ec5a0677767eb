"""A stage for the demo: commands printed as they are typed, run for real, their output on the screen as it comes."""

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

WIDTH = 80
TIMEOUT = 120  # seconds that one command may take


class CheckError(Exception):
    """A step did not do what it must; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A command that has ended: its exit status and all that it printed."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@dataclass(slots=True)
class Stage:
    """Runs commands in `folder` with `env` and keeps the time of each step."""

    folder: Path
    env: Mapping[str, str]
    times: list[tuple[str, float]] = field(default_factory=list)

    def step(self, title: str, act: Callable[[], None]) -> None:
        """One numbered step of the story. CheckError goes on to the caller, with the step's time kept."""
        heading = f"── {len(self.times) + 1}. {title} "
        click.secho(f"\n{heading:─<{WIDTH}}", bold=True)
        begun = time.monotonic()
        try:
            act()
        finally:
            self.times.append((title, time.monotonic() - begun))

    def run(self, *argv: str, into: str = "", expect: int = 0) -> Shown:
        """Type a command; `into` is a file for its stdout, as with `>`. CheckError for another exit status."""
        _prompt(argv, into)
        with (self.folder / into if into else Path(os.devnull)).open("wb") as kept:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=kept if into else subprocess.PIPE,
                stderr=subprocess.PIPE if into else subprocess.STDOUT,
            )
        with process:
            stream = process.stderr if into else process.stdout
            assert stream is not None  # noqa: S101
            text = _tee(stream.fileno(), {})
            status = process.wait(TIMEOUT)
        return _expected(Shown(status, text), expect)

    def converse(self, *argv: str, answers: Mapping[str, str], expect: int = 0) -> Shown:
        """Type a command that asks on its terminal, and answer each prompt once."""
        _prompt(argv, "")
        sys.stdout.flush()
        terminal, slave = pty.openpty()
        # setsid makes it the program's own terminal: where passwords are asked for.
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv],
            cwd=self.folder,
            env=self.env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        with process:
            text = _tee(terminal, dict(answers))
            status = process.wait(TIMEOUT)
        os.close(terminal)
        return _expected(Shown(status, text), expect)


def check(condition: bool, expected: str) -> None:
    """CheckError unless the condition holds."""
    if not condition:
        raise CheckError(f"expected {expected}")


def _prompt(argv: Sequence[str], into: str) -> None:
    typed = shlex.join(argv) + (f" > {shlex.quote(into)}" if into else "")
    click.secho(f"$ {typed}", fg="green")
    sys.stdout.flush()


def _expected(shown: Shown, status: int) -> Shown:
    if shown.status != status:
        raise CheckError(f"expected exit status {status}, got {shown.status}")
    return shown


def _tee(source: int, answers: dict[str, str]) -> str:
    """Everything from `source`, on the screen as it comes; where it is a terminal, prompts are answered."""
    found, deadline = "", time.monotonic() + TIMEOUT
    decode = getincrementaldecoder("utf-8")("replace").decode
    while True:
        ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise CheckError(f"expected an end within {TIMEOUT} s")
        try:
            part = os.read(source, 65_536)
        except OSError:  # EIO: the program at the terminal has ended
            part = b""
        if not part:
            return found.replace("\r\n", "\n")
        said = decode(part)
        found += said
        sys.stdout.write(said.replace("\r\n", "\n"))
        sys.stdout.flush()
        last = re.split(r"[\r\n]", found)[-1]
        for prompt in [prompt for prompt in answers if last.startswith(prompt)]:
            os.write(source, f"{answers.pop(prompt)}\n".encode())
