"""What takes something away for good asks first, where somebody is there to answer."""

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.svm.conftest import Svm, slice_file
from tests.integration.svm.test_terminals import svm_argv

Types = Callable[..., tuple[int, str]]


@pytest.fixture
def types(home: Path) -> Types:
    """A command at a terminal, and what is typed there; its exit status, and what the terminal shows."""

    def typed(answer: str, *words: object) -> tuple[int, str]:
        master, slave = pty.openpty()
        env = {**os.environ, "PLANETLAB_HOME": str(home)}
        os.write(master, answer.encode())
        with subprocess.Popen(svm_argv(*map(str, words)), stdin=slave, stdout=slave, stderr=slave, env=env) as done:
            os.close(slave)
            shown = b""
            try:
                while part := os.read(master, 65_536):
                    shown += part
            except OSError:  # EIO: it has ended
                pass
            os.close(master)
            return done.wait(60), shown.decode()

    return typed


def states(svm: Svm, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    svm("slices")
    return capsys.readouterr().out


def test_deleteslice(svm: Svm, demo: Path, types: Types, capsys: pytest.CaptureFixture[str]) -> None:
    svm("createslice", demo)
    status, shown = types("n\n", "deleteslice", "demo")
    assert (status, "Delete demo with all that is on its 3 nodes? [y/N]" in shown) == (1, True)
    assert "demo stays as it is" in shown
    assert "3 of 3 running" in states(svm, capsys)
    status, shown = types("y\n", "deleteslice", "demo")
    assert (status, "3 ok" in shown) == (0, True)
    svm("createslice", demo)
    status, shown = types("", "deleteslice", "--yes", "demo")
    assert (status, "[y/N]" in shown) == (0, False)


def test_a_slice_that_is_to_lose_nodes(
    svm: Svm, demo: Path, tmp_path: Path, types: Types, capsys: pytest.CaptureFixture[str]
) -> None:
    svm("createslice", demo)
    smaller = slice_file(tmp_path / "smaller.xml", 2)
    status, shown = types("n\n", "createslice", smaller)
    assert (status, "demo has 3 nodes. Give back 1 of them, with all that is there? [y/N]" in shown) == (1, True)
    assert "3 of 3 running" in states(svm, capsys)
    status, shown = types("", "createslice", "--yes", smaller)
    assert (status, "given back: 127.0.1.3" in shown) == (0, True)
    assert "2 of 2 running" in states(svm, capsys)
    status, shown = types("n\n", "deleteslice", "demo")
    assert (status, "Delete demo with all that is on its 2 nodes? [y/N]" in shown) == (1, True)


def test_nobody_is_asked_in_a_pipe(svm: Svm, demo: Path) -> None:
    svm("createslice", demo)
    assert svm("deleteslice", "demo") == 0
