"""How plkeygen and pluserinfo end: one line, and an exit status."""

import click
import pytest

from svm.cli_errors import run
from trust.errors import Code, Refusal


def ends(error: BaseException | None, argv: list[str]) -> int:
    def call(debug: bool) -> int:
        del debug
        if error is not None:
            raise error
        return 1

    command = click.Command("program", params=[click.Option(["--debug"], is_flag=True)], callback=call)
    return run(command, "program", argv)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (Refusal(Code.BAD_INPUT, "that is wrong"), 2, "program: that is wrong\n"),
        (Refusal(Code.NOT_AUTHENTICATED, "who?"), 4, "program: who?\n"),
        (Refusal(Code.UNREACHABLE, "away"), 5, "program: away\n"),
        (Refusal(Code.NOT_FOUND, "nobody"), 1, "program: nobody\n"),
        (click.UsageError("Odd."), 2, "program: Odd; see: program --help\n"),
        (click.Abort(), 130, "\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (PermissionError(13, "Permission denied", "/x/key.pem"), 1, "program: /x/key.pem: Permission denied\n"),
        (OSError("no room"), 1, "program: no room\n"),
        (ZeroDivisionError(), 1, "program: internal error (ZeroDivisionError); --debug shows where\n"),
        (None, 1, ""),
    ],
)
def test_each_end(capsys: pytest.CaptureFixture[str], error: BaseException | None, status: int, line: str) -> None:
    assert ends(error, []) == status
    assert capsys.readouterr() == ("", line)


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(ZeroDivisionError(), ["--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
