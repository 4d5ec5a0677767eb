"""`svm rekey`: a line a node, and what to type after a partial failure."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from lifecycle.outcome import Failed
from models.states import Kind
from tests.integration.svm.conftest import Running, Svm, failing
from trust.errors import Code

DOWN = Failed(Code.UNREACHABLE, "no answer within 10 s; try again when it is back")


def wanted(database: Engine) -> int:
    with database.connect() as connection:
        return int(connection.execute(text("SELECT pair_wanted FROM svm.slice")).scalar_one())


def test_every_node_says_how_it_went(
    svm: Svm, demo: Path, svmd: Running, database: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    svm("createslice", demo)
    capsys.readouterr()
    assert svm("rekey", "demo") == 0
    assert sorted(capsys.readouterr().out.splitlines()) == [f"Success on 127.0.1.{n}" for n in (1, 2, 3)]
    svmd.worker.results = failing(Kind.REKEY, {"127.0.1.2": DOWN})
    assert svm("rekey", "demo") == 3
    shown = capsys.readouterr()
    assert f"Error on 127.0.1.2: {DOWN.reason}" in shown.out
    assert "Try again with: svm rekey demo" in shown.err
    assert wanted(database) == 2


def test_a_slice_without_vms(svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svm("newtickets", demo)
    capsys.readouterr()
    assert svm("rekey", "demo") == 0
    assert "demo has no VM yet: each gets the new pair when it is made" in capsys.readouterr().err


def test_no_slice_of_that_name(svm: Svm, capsys: pytest.CaptureFixture[str]) -> None:
    assert svm("rekey", "nothing") == 1
    assert "no slice nothing" in capsys.readouterr().err
