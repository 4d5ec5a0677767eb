"""Times and foreign text on pages."""

import time
from collections.abc import Iterator

import pytest

from svm.web.words import lasting, linked, remaining, short, when

NOW = "2026-01-10T12:00:00+00:00"


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_time_is_in_utc_and_local(in_berlin: None) -> None:
    assert "2026-01-10 12:00 UTC (13:00 CET)" in when(NOW)
    assert "(11 Jan 00:30 CET)" in when("2026-01-10T23:30:00+00:00")
    assert 'datetime="2026-01-10T12:00:00+00:00"' in when(NOW)


def test_little_time_left_is_marked() -> None:
    assert remaining("2026-01-10T12:30:00+00:00", NOW, 1_209_600).startswith('<span class="soon"')
    assert remaining("2026-01-10T12:50:00+00:00", NOW, 3600).startswith('<span class="time"')
    assert ">over<" in remaining(NOW, NOW, 3600)
    assert remaining(None, NOW, 3600) == "–"


@pytest.mark.parametrize(
    ("seconds", "said"), [(1_209_600, "14 days"), (86_400, "1 day"), (5400, "90 minutes"), (61, "61 seconds")]
)
def test_a_length(seconds: int, said: str) -> None:
    assert lasting(seconds) == said


def test_foreign_text_is_text() -> None:
    assert short("<b>\x1b[31m" + "x" * 100, 20) == "<b> [31mxxxxxxxxxxx…"
    assert linked("<script> svm watch demo follows it", "demo") == (
        "&lt;script&gt; <code>svm watch demo</code> follows it"
    )
