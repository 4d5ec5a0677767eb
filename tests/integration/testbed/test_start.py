"""`dslice start` says 0 only of a process that stays: beside a supervisor's real control socket."""

from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from admin.main import main
from testbed import control
from testbed.home import Home

STAYS = [{"name": "beat", "pid": 7, "state": "ready"}]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.make()
    (home.logs / "beat.log").write_text("first\nthe broker's address is no address\n")
    return home


def answered(home: Home, rows: list[dict[str, object]]) -> "tuple[int, str]":
    """What `dslice start beat` says, and its exit status, when `ps` shows these rows in turn, the last for good."""
    server, left = control.Server(home), list(rows)
    server._socket.setblocking(True)

    def serve() -> None:
        while (request := server.accept()) is None or request.verb != "end":
            if request is not None and request.verb == "ps":
                request.answer(processes=[left.pop(0) if len(left) > 1 else left[0]])
            elif request is not None:
                request.answer()
        request.answer()

    serving = Thread(target=serve)
    serving.start()
    try:
        result = CliRunner().invoke(main, ["start", "beat", "--home", str(home.directory)])
        return result.exit_code, result.output
    finally:
        control.ask(home, "end")
        serving.join(30)
        server.close()


def test_a_process_that_stays(home: Home) -> None:
    assert answered(home, STAYS)[0] == 0


@pytest.mark.parametrize(
    "then", [{"name": "beat", "pid": None, "state": "dead"}, {"name": "beat", "pid": 8, "state": "ready"}]
)
def test_a_process_that_ends_at_once(home: Home, then: dict[str, object]) -> None:
    status, said = answered(home, [*STAYS, *STAYS, *STAYS, then])
    assert status != 0
    assert "beat ended at once: the broker's address is no address" in said
