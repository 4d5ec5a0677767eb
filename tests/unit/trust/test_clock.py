from datetime import UTC, datetime, timedelta

import pytest

from trust.clock import SystemClock, system_clock
from trust.errors import Code, Refusal


def test_the_system_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


def test_an_offset_moves_the_clock() -> None:
    assert SystemClock(offset=-86_400).now() < datetime.now(UTC) - timedelta(hours=23)
    assert SystemClock(offset=86_400).now() > datetime.now(UTC) + timedelta(hours=23)


@pytest.mark.parametrize(("text", "offset"), [(None, 0), ("", 0), (" ", 0), ("90", 90), ("+90", 90), ("-3600", -3600)])
def test_the_environment_gives_the_offset(monkeypatch: pytest.MonkeyPatch, text: str | None, offset: int) -> None:
    if text is None:
        monkeypatch.delenv("DSLICE_CLOCK_OFFSET", raising=False)
    else:
        monkeypatch.setenv("DSLICE_CLOCK_OFFSET", text)
    assert system_clock() == SystemClock(offset)


@pytest.mark.parametrize("text", ["soon", "1.5", "1e3", "1_000", "999999999"])
def test_an_offset_that_is_no_number_of_seconds_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DSLICE_CLOCK_OFFSET", text)
    with pytest.raises(Refusal) as refusal:
        system_clock()
    assert refusal.value.code is Code.BAD_INPUT
