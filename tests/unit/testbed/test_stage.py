"""The demo's stage: real commands, real output, and a clear word when one does not do what it must."""

import sys
from pathlib import Path

import pytest

from testbed.stage import CheckError, Stage, check


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, {"PATH": "/usr/bin:/bin"})


def test_what_is_typed_and_what_is_answered(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    shown = stage.run("sh", "-c", "echo out; echo err >&2")
    assert shown.lines == ["out", "err"]
    assert capfd.readouterr().out == "$ sh -c 'echo out; echo err >&2'\nout\nerr\n"


def test_output_into_a_file(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    stage.run("echo", "kept", into="file")
    assert (stage.folder / "file").read_text() == "kept\n"
    assert capfd.readouterr().out == "$ echo kept > file\n"


def test_another_exit_status_than_expected(stage: Stage) -> None:
    with pytest.raises(CheckError, match="expected exit status 0, got 3"):
        stage.run("sh", "-c", "exit 3")
    with pytest.raises(CheckError, match="expected exit status 3, got 0"):
        stage.run("true", expect=3)
    assert stage.run("sh", "-c", "exit 3", expect=3).status == 3


def test_prompts_on_a_terminal_are_answered(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    program = 'from getpass import getpass; print("sent for", input("email: "), len(getpass("password: ")), "letters")'
    shown = stage.converse(sys.executable, "-c", program, answers={"email:": "a@b", "password:": "secret"})
    assert shown.lines[-1] == "sent for a@b 6 letters"
    assert "secret" not in capfd.readouterr().out


def test_a_step_is_headed_and_timed(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    stage.step("First", lambda: None)
    with pytest.raises(CheckError, match="expected more"):
        stage.step("Second", lambda: check(False, "more"))
    assert [title for title, _ in stage.times] == ["First", "Second"]
    heading = capfd.readouterr().out.splitlines()[1]
    assert heading.startswith("── 1. First ─")
    assert len(heading) == 80
