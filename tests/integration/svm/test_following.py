"""What is refused at the command line, and operations that go on without it."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from lifecycle.outcome import Failed
from models.states import Kind
from rpc.blocking import Connection
from rpc.reply import Reply
from tests.integration.svm.conftest import (
    Lab,
    Running,
    Svm,
    failing,
    following,
    running,
)
from trust.errors import Code, Refusal

DOWN = Failed(Code.UNREACHABLE, "no answer within 10 s; try again when it is back")
FULL = Failed(Code.OVER_CAPACITY, "no slot is free")


class TestRefusals:
    """Bad input to every verb: test_bad_input.py."""

    def test_a_second_createslice_says_what_to_do(
        self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svm("createslice", demo)
        capsys.readouterr()
        assert svm("createslice", demo) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "deleteslice" in err
        assert err.count("\n") == 1

    def test_no_pi(self, svm: Svm, demo: Path, svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user("user@a.example", pi=False))))
        assert svm("createslice", demo) == 4

    def test_a_busy_slice(
        self, svm: Svm, home: Path, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        try:
            assert svm("renewslice", "demo") == 1
            assert "svm watch" in capsys.readouterr().err
        finally:
            child.kill()
            child.communicate()

    def test_svmd_is_away(self, svm: Svm, home: Path, capsys: pytest.CaptureFixture[str], svmd: Running) -> None:
        place = json.loads((home / "directory.json").read_text())
        (home / "directory.json").write_text(json.dumps({**place, "svmd": "https://127.0.0.1:9"}))
        assert svm("nodelist", "demo") == 5
        assert capsys.readouterr().err.count("\n") == 1


class TestFollowing:
    def test_ctrl_c_and_watch(
        self, svm: Svm, home: Path, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
        assert child.returncode == 130
        advice = "it continues; follow it with: svm watch "
        assert err.strip().startswith(advice)
        operation = err.strip().removeprefix(advice)
        svmd.worker.resume()
        for what in (operation, "demo"):
            assert svm("watch", what) == 0
            out, err = capsys.readouterr()
            assert len(out.splitlines()) == 3
            assert "createslice demo ended" in err

    def test_watch_exits_as_the_operation_did(self, svm: Svm, demo: Path, svmd: Running) -> None:
        svmd.worker.results = failing(Kind.NEWVMS, {"127.0.1.2": DOWN})
        assert svm("createslice", demo) == 3
        assert svm("watch", "demo") == 3

    def test_events_come_while_they_happen(self, home: Path, demo: Path, svmd: Running) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        svmd.worker.resume()
        out, _ = child.communicate()
        assert (child.returncode, len(out.splitlines())) == (0, 3)

    def test_a_stream_is_taken_up_again_after_svmd_was_away(
        self, lab: Lab, database: Engine, demo: Path, emptied: None
    ) -> None:
        del emptied
        with running(lab, database) as first:
            first.worker.idle = True
            home = first.home(lab.user())
            child = following(first, home, "createslice", demo)
            waiting = first.worker.published
        with running(lab, database, port=first.port) as second:
            second.worker.publish(waiting)
            out, err = child.communicate()
        assert (child.returncode, len(out.splitlines())) == (0, 3), err

    def test_nobody_else_cancels_it(self, home: Path, demo: Path, svmd: Running, lab: Lab, database: Engine) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        with database.connect() as rows:
            operation = rows.scalar(text("SELECT id FROM svm.operation"))
        with svmd.connection(lab.user("other@b.example")) as connection, pytest.raises(Refusal) as caught:
            connection.call("DELETE", f"/operations/{operation}")
        assert caught.value.code is Code.NOT_OWNER
        svmd.worker.resume()
        child.communicate()
        assert child.returncode == 0

    def test_a_lost_answer_is_asked_for_again_and_makes_one_operation(
        self, svm: Svm, demo: Path, database: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, lost = Connection.call, iter([True])

        def call(connection: Connection, method: str, *arguments: Any, **named: Any) -> Reply:
            reply = real(connection, method, *arguments, **named)
            if method == "POST" and next(lost, False):
                raise Refusal(Code.TIMEOUT, "the answer was lost on its way")
            return reply

        monkeypatch.setattr(Connection, "call", call)
        assert svm("createslice", demo) == 0
        with database.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM svm.operation")) == 1

    def test_cancel(self, svm: Svm, home: Path, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        assert svm("cancel", "demo") == 0
        assert child.communicate()[1].endswith("svm: cancelled; steps already under way were completed\n")
        assert child.returncode == 1
        capsys.readouterr()
        assert svm("cancel", "demo") == 1
        assert "nothing is under way on demo" in capsys.readouterr().err
