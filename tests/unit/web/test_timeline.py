"""Where leases and events stand on the line of time."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svm.web.timeline import BARS, LABEL, WIDTH, _pieces, timeline

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def sliver(node: str, **more: Any) -> dict[str, Any]:
    told = {"node": node, "state": "running", "last_error": None, "renew_at": None}
    return told | {"expires_at": (NOW + 4 * DAY).isoformat(), "changed_at": (NOW - DAY).isoformat()} | more


def found(*slivers: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"now": NOW.isoformat(), "leaselen": 14 * 86_400, "slivers": list(slivers), "autorenew": False}
    return told | {"autorenew_until": None, "standing_until": None} | more


def event(node: str, days: float, **more: Any) -> dict[str, Any]:
    at = (NOW + days * DAY).isoformat()
    return {"node": node, "type": "node", "at": at, "ok": True, "kind": "renew", "reason": None} | more


def test_a_lease_that_nobody_renews_shows_its_last_day() -> None:
    line = timeline(found(sliver("10.0.0.1")))
    (bar,) = line["bars"]
    assert bar["x1"] == WIDTH
    assert bar["renew"] is None
    day = (WIDTH - line["now"]) / 4
    assert bar["ending"] == pytest.approx(WIDTH - day, abs=0.2)


def test_autorenew_comes_where_svmd_says_and_then_no_day_is_the_last() -> None:
    renewing = sliver("10.0.0.1", renew_at=(NOW + 2 * DAY).isoformat())
    (bar,) = timeline(found(renewing, autorenew=True))["bars"]
    line = timeline(found(renewing, autorenew=True))
    assert bar["ending"] is None
    assert bar["renew"] == pytest.approx((line["now"] + WIDTH) / 2, abs=0.2)
    (bar,) = timeline(found(renewing, autorenew=True, autorenew_until=(NOW + DAY).isoformat()))["bars"]
    assert bar["ending"] is not None


def test_a_ticket_is_no_lease() -> None:
    (bar,) = timeline(found(sliver("10.0.0.1", state="ticketed")))["bars"]
    assert bar["ending"] is None


def test_nodes_alike_share_a_bar_when_there_are_many_but_not_one_with_an_error() -> None:
    many = [sliver(f"10.0.0.{n}") for n in range(1, BARS + 2)] + [sliver("10.1.1.1", last_error="no answer")]
    bars = timeline(found(*many))["bars"]
    assert [(bar["label"], bar["count"]) for bar in bars] == [(f"{BARS + 1} nodes", BARS + 1), ("10.1.1.1", 1)]


def test_only_failed_leaves_out_what_is_well() -> None:
    slivers = [sliver("10.0.0.1"), sliver("10.0.0.2", last_error="no"), sliver("10.0.0.3", state="expired")]
    events = [event("10.0.0.4", -1, ok=False)]
    bars = timeline(found(*slivers, sliver("10.0.0.4")), events, failed=True)["bars"]
    assert [bar["label"] for bar in bars] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_idle_time_before_now_is_squeezed() -> None:
    events = [event("10.0.0.1", days) for days in (-9, -8.9, -0.2)]
    line = timeline(found(sliver("10.0.0.1", changed_at=(NOW - 9 * DAY).isoformat())), events)
    assert [round(x1 - x0) for x0, x1, _ in line["gaps"]] == [16]
    assert line["gaps"][0][2] == "8.7 d"
    assert len(line["bars"][0]["marks"]) == 3


def test_a_range_shows_what_lies_in_it() -> None:
    events = [event("10.0.0.1", days) for days in (-3, -2, -1)]
    line = timeline(found(sliver("10.0.0.1")), events, NOW - 2.5 * DAY, NOW - 0.5 * DAY)
    assert len(line["bars"][0]["marks"]) == 2
    assert (line["bars"][0]["x0"], line["bars"][0]["x1"]) == (LABEL, WIDTH)
    assert line["begin"] == (NOW - 2.5 * DAY).isoformat()


def test_nothing_to_show_is_no_error() -> None:
    assert timeline(found())["bars"] == []
    assert timeline(found(sliver("10.0.0.1", expires_at=None)))["bars"] == []
    backwards = timeline(found(sliver("10.0.0.1")), (), NOW, NOW - DAY)
    assert len(backwards["bars"]) == 1


@given(st.sets(st.floats(1, 99, allow_nan=False), max_size=8))
def test_pieces_cover_the_line_in_order(moments: set[float]) -> None:
    pieces = _pieces(0, 100, sorted(moments), 10, 500)
    assert (pieces[0].begin, pieces[-1].end) == (0, 100)
    assert (pieces[0].x0, round(pieces[-1].x1)) == (10, 500)
    for before, after in pairwise(pieces):
        assert before.end == after.begin
        assert before.x1 == after.x0
        assert before.x0 <= before.x1
