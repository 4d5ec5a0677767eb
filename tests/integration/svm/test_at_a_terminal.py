"""What a user sees at a terminal of 80 columns: colours, the bar in its place, one piece of advice."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.integration.frontdoor.screen import Screen
from tests.integration.svm.conftest import Running, Svm, expire

COLUMNS = 80
RED, PLAIN = "\x1b[31m", "\x1b[0m"
CLEARED = "\r\x1b[K"
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@contextmanager
def typed(*words: object) -> Iterator[Screen]:
    """`svm WORDS` at such a terminal."""
    argv = [sys.executable, "-c", "from svm.main import main; main()", *map(str, words)]
    screen = Screen(argv, 24, COLUMNS)
    try:
        yield screen
    finally:
        screen.close()


def shown(*words: object) -> list[str]:
    """What a command has left on the screen when it has ended, line by line, colours and all."""
    with typed(*words) as screen:
        while screen.client.poll() is None:
            screen.look(0.1)
        screen.look(0.1)
        return [line.rpartition(CLEARED)[2] for line in screen.seen.replace("\r\n", "\n").splitlines()]


def plain(line: str) -> str:
    return CONTROL.sub("", line)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def made(svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert svm("createslice", demo) == 0
    capsys.readouterr()
    return demo


@pytest.mark.parametrize("words", [("status", "demo"), ("expirations", "--table", "demo")])
def test_little_time_left_is_red_and_no_table_is_wider(made: Path, database: Engine, words: tuple[str, ...]) -> None:
    with database.begin() as connection:
        for node, hours in (("127.0.1.1", 2), ("127.0.1.2", 20), ("127.0.1.3", 22)):
            statement = text(
                "UPDATE svm.sliver SET expires_at = now() + make_interval(hours => :h, secs => 30),"
                " last_error = repeat('why ', 60) WHERE node = :n"
            )
            connection.execute(statement, {"h": hours, "n": node})
    lines = shown(*words)
    assert max(len(plain(line)) for line in lines) <= COLUMNS
    red = [line for line in lines if RED in line]
    assert len(red) == 1, lines
    assert re.search(re.escape(RED) + r"2 h 0 min" + re.escape(PLAIN), red[0])


def test_the_bar_stands_in_its_place_and_goes(made: Path, svmd: Running) -> None:
    svmd.worker.idle, svmd.worker.published = True, []
    with typed("renewslice", "demo") as screen:
        screen.until(r"renewslice demo: \[ +\] 0 of 3 nodes")
        until(lambda: len(svmd.worker.published) == 3)
        first, *_ = svmd.worker.published
        svmd.worker.idle = False
        svmd.worker.publish([first])
        bar = screen.until(re.escape(CLEARED) + r"renewslice demo: \[\S+ +\] 1 of 3 nodes[^\r\n]*")
        assert len(plain(bar).strip()) < COLUMNS
        svmd.worker.resume()
        screen.until(r"Success on 127\.0\.1\.\d: \S+ \S+ UTC → [^\r\n]*\r\n")
        screen.until(r"3 ok\r\n")
        assert screen.client.wait(30) == 0
        screen.look(0.1)
        assert "of 3 nodes" not in screen.seen.rpartition(CLEARED)[2]


@pytest.mark.parametrize("words", [("renewslice", "demo"), ("status", "demo")])
def test_ended_leases_get_one_piece_of_advice(made: Path, database: Engine, words: tuple[str, ...]) -> None:
    expire(database)
    lines = list(map(plain, shown(*words)))
    advice = [line for line in lines if re.search(r"\bsvm [a-z]+slice\b|Try again", line)]
    assert len(advice) == 1, lines
    assert "svm createslice" in advice[0]
