"""Every verb on every kind of output: other encodings, closed, full, and a reader that has gone."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from svm.main import VERBS
from tests.integration.svm.conftest import Running, Svm

LATIN_1 = {"PYTHONIOENCODING": "latin-1"}
NO_SPACE = "svm: cannot write the output: No space left on device\n"
# In an order in which each has something to do. `ssh` becomes another program (test_login); `mcp` speaks to none but an
# assistant (tests/acceptance/test_mcp.py).
WORDS = {
    "getads": [],
    "createslice": ["FILE"],
    "addkey": ["demo", "KEY"],
    "delkey": ["demo", "KEY"],
    "nukekeys": ["demo"],
    "rekey": ["demo"],
    "renewslice": ["demo"],
    "stop": ["demo"],
    "start": ["demo"],
    "restart": ["demo"],
    "reset": ["demo"],
    "watch": ["demo"],
    "nodelist": ["demo"],
    "expirations": ["demo"],
    "newtickets": ["FILE"],
    "newleases": ["demo"],
    "newvms": ["demo"],
    "autorenew": ["demo", "on"],
    "delegate": ["demo"],
    "heal": ["demo", "on"],
    "undelegate": ["demo"],
    "hook": ["demo", "add", "https://example.org/x"],
    "slices": [],
    "status": ["demo"],
    "history": ["demo"],
    "cancel": ["demo"],
    "ssh-config": ["demo"],
    "run": ["demo", "--", "true"],
    "cp": ["FILE", "demo:"],
    "plan": ["TOML"],
    "apply": ["TOML"],
    "inventory": ["demo"],
    "targets": [],
    "usage": [],
    "doctor": [],
    "config": ["show"],
    "completion": ["bash"],
    "help": ["createslice"],
    "clean": [],
    "shrink": ["demo", "127.0.1.1"],
    "deleteslice": ["demo"],
}
# No agent is there and no node listens; the slice has all its nodes, and nothing goes on.
REFUSED = {"getads", "newtickets", "cancel", "doctor", "run", "cp", "usage"}
# One process types them all, and waits for each operation, which goes on when nobody can be told of it.
TYPE_ALL = """
import contextlib, io, json, os, sys
from pathlib import Path
from svm.main import run
from svm.streams import begin

commands, told = json.loads(sys.argv[1]), []
for words in commands:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(io.StringIO()):
            run(["watch", "demo"])
    errors = os.open(sys.argv[2] + ".err", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    try:
        begin("svm", lambda: run(words))
    except SystemExit as end:
        status = end.code
    told.append([status, Path(sys.argv[2] + ".err").read_bytes().decode("utf-8", "replace")])
Path(sys.argv[2]).write_text(json.dumps(told))
"""


@dataclass
class Typed:
    """What became of all verbs: the exit status and stderr of each, and stdout of all."""

    told: dict[str, tuple[int, str]]
    out: bytes


@contextmanager
def terminal() -> Iterator[tuple[int, list[bytes]]]:
    """A terminal to write to, and what it has shown once the block has ended."""
    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                shown.append(os.read(master, 65_536))
            except OSError:  # EIO: nobody has it open any more
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield slave, shown
    finally:
        os.close(slave)
        reader.join()
        os.close(master)


@dataclass
class Desk:
    """A user with a file, a key, and a home."""

    home: Path
    file: Path
    key: Path
    folder: Path

    def type_all(
        self, stdout: int | None, *, json_lines: bool = False, environment: Mapping[str, str] | None = None
    ) -> Typed:
        """Every verb in a process whose stdout this is; None: it is closed."""
        declared = self.folder / "dslice.toml"
        declared.write_text("[slices.demo]\nnodes = 3\nkeys = []\nautorenew = false\n")
        given = {"FILE": str(self.file), "KEY": str(self.key), "TOML": str(declared)}
        head = ["--json"] if json_lines else []
        commands = [[*head, verb, *(given.get(word, word) for word in words)] for verb, words in WORDS.items()]
        argv = [sys.executable, "-c", TYPE_ALL, json.dumps(commands), str(self.folder / "told")]
        if stdout is None:
            argv = ["sh", "-c", 'exec "$@" >&-', "sh", *argv]
        env = {**os.environ, "PLANETLAB_HOME": str(self.home), **(environment or {})}
        done = subprocess.run(argv, stdout=stdout, stderr=subprocess.PIPE, env=env, timeout=150)
        assert done.returncode == 0, done.stderr
        told = json.loads((self.folder / "told").read_text())
        assert len(told) == len(WORDS)
        return Typed({verb: (status, err) for verb, (status, err) in zip(WORDS, told, strict=True)}, done.stdout or b"")


@pytest.fixture
def desk(svmd: Running, home: Path, demo: Path, key: Path, tmp_path: Path) -> Desk:
    del svmd
    return Desk(home, demo, key, tmp_path)


def svm_argv(*words: str) -> list[str]:
    return [sys.executable, "-c", "from svm.main import main; main()", *words]


def surprises(typed: Typed) -> list[str]:
    """What no verb may say."""
    everything = [err for _, err in typed.told.values()] + [typed.out.decode("utf-8", "replace")]
    return [text for text in everything if "internal error" in text or "Traceback" in text]


def refused(typed: Typed) -> set[str]:
    return {verb for verb, (status, _) in typed.told.items() if status}


def test_every_verb_is_typed_here() -> None:
    assert {*WORDS, "ssh", "mcp", "web"} == set(VERBS)  # these three go on until their user ends them


def test_a_latin_1_terminal(desk: Desk) -> None:
    with terminal() as (screen, shown):
        typed = desk.type_all(screen, environment=LATIN_1)
    typed.out = b"".join(shown)
    assert surprises(typed) == []
    assert b"(leased -> running)" in typed.out  # of history; Latin-1 has no arrow
    assert b" UTC -> 20" in typed.out  # of renewslice


def test_a_terminal_without_any_such_letters(desk: Desk) -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    typed = desk.type_all(subprocess.PIPE, environment=environment)
    assert (surprises(typed), refused(typed)) == ([], REFUSED)


def test_json_is_json_in_every_encoding(desk: Desk) -> None:
    typed = desk.type_all(subprocess.PIPE, json_lines=True, environment=LATIN_1)
    assert surprises(typed) == []
    lines = [line for line in typed.out.decode("ascii").splitlines() if line.startswith("{")]
    assert len([json.loads(line) for line in lines]) > len(WORDS)


def test_a_closed_stdout(desk: Desk) -> None:
    typed = desk.type_all(None)
    assert (surprises(typed), refused(typed)) == ([], REFUSED)


def test_a_full_device_is_one_clear_line(desk: Desk) -> None:
    with Path("/dev/full").open("wb") as full:
        typed = desk.type_all(full.fileno())
    assert surprises(typed) == []
    silent = {verb for verb, (_, err) in typed.told.items() if NO_SPACE not in err}
    # These have nothing to say on stdout here.
    quiet = {"newtickets", "newleases", "newvms", "cancel", "clean", "autorenew", "delegate", "undelegate", "heal"}
    assert silent <= {*quiet, "getads", "plan", "apply", "usage"}
    for verb, (status, err) in typed.told.items():
        if verb not in silent:
            assert (status, err.count(NO_SPACE), err.endswith(NO_SPACE)) == (1, 1, True), (verb, err)


@pytest.mark.parametrize("words", [["--json", "createslice", "/no/such/file"], ["--help"], ["--version"]])
def test_a_full_device_outside_of_the_verbs(words: list[str], home: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(svm_argv(*words), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, NO_SPACE)


def test_a_reader_that_has_gone_is_no_news(desk: Desk) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        typed = desk.type_all(writer)
    finally:
        os.close(writer)
    assert surprises(typed) == []
    assert typed.told["history"] == (1, "")
    assert typed.told["status"] == (1, "")


def test_a_full_stderr_changes_no_status(svm: Svm, home: Path, demo: Path) -> None:
    svm("createslice", demo)
    argv = svm_argv("createslice", "/no/such/file")
    with Path("/dev/full").open("wb") as full:
        env = {**os.environ, "PLANETLAB_HOME": str(home)}
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=full, env=env, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
