"""`dslice logs`: many files as one stream, for people or as they are; files that have grown are begun anew."""

import json
from pathlib import Path

import pytest

from testbed import logs
from testbed.home import Home, HomeError
from testbed.logs import lines, logs_of, rotate


def said(at: int, event: str, **more: object) -> str:
    level = more.pop("level", "info")
    return json.dumps({"event": event, "timestamp": f"2030-01-01T00:00:{at:02}.5Z", "level": level, **more}) + "\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path)
    found.make()
    (found.logs / "svmd.log").write_text(said(1, "one") + said(3, "three", slice="demo", level="warning"))
    (found.logs / "worker1.log").write_text("Traceback: odd\x1b[2J\n" + said(2, "two", exception="Traceback\n  line"))
    return found


def test_all_of_them_by_time(home: Home) -> None:
    shown = list(lines(logs_of(home, ()), follow=False, as_json=False))
    assert shown == [
        "         worker1    Traceback: odd [2J",
        "00:00:01 svmd       one",
        "00:00:02 worker1    two\n                    Traceback\n                      line",
        "00:00:03 svmd       WARNING: three slice=demo",
    ]


def test_those_that_are_named(home: Home) -> None:
    assert [log.path.stem for log in logs_of(home, ("worker",))] == ["worker1"]
    assert [log.path.stem for log in logs_of(home, ("worker1", "svmd"))] == ["worker1", "svmd"]
    assert next(lines(logs_of(home, ("svmd",)), follow=False, as_json=True)) == said(1, "one").strip()
    with pytest.raises(HomeError, match="no log of beat here; there are svmd, worker1"):
        logs_of(home, ("beat",))


def test_following_a_file_that_is_begun_anew(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home.logs / "svmd.log"
    file.write_text("")
    found = lines(logs_of(home, ("svmd",)), follow=True, as_json=False)
    half = said(4, "four") + said(5, "five")[:9]  # which is not shown
    texts = iter([half, said(4, "four") + said(5, "five"), said(6, "six")])
    monkeypatch.setattr(logs, "sleep", lambda _: file.write_text(next(texts)))
    assert [next(found)[-4:] for _ in range(3)] == ["four", "five", " six"]


def test_rotation_keeps_the_last(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home.logs / "svmd.log"
    with file.open("ab") as daemon:
        rotate(home.logs)
        assert not file.with_suffix(".log.1").exists()
        monkeypatch.setattr(logs, "LARGEST", 10)
        before = file.read_bytes()
        rotate(home.logs)
        assert (file.read_bytes(), file.with_suffix(".log.1").read_bytes()) == (b"", before)
        daemon.write(b"new")
    assert file.read_bytes() == b"new"
