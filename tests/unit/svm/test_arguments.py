"""Words on the command line: nodes in the howto's forms, dates."""

from datetime import UTC, datetime

import pytest

from svm.arguments import day, nodes
from trust.errors import Code, Refusal

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_addresses_and_the_howtos_paths() -> None:
    words = ["150.135.65.3", "/home/b/.planetlab/slices/oceanstore/tickets/131.215.45.71", "leases/150.135.65.3"]
    assert nodes(words) == ("150.135.65.3", "131.215.45.71")


@pytest.mark.parametrize("word", ["/h/.planetlab/slices/oceanstore/tickets/*", "leases/*"])
def test_a_glob_that_matched_nothing_means_all(word: str) -> None:
    assert nodes(["1.2.3.4", word]) == ()


def test_no_node_means_all() -> None:
    assert nodes([]) == ()


@pytest.mark.parametrize("word", ["node7", "*", "/tmp/*", "1.2.3.4/tickets", "", "tickets/1.2.3"])
def test_words_that_are_no_nodes(word: str) -> None:
    with pytest.raises(Refusal, match="is not a node") as caught:
        nodes([word])
    assert caught.value.code is Code.BAD_INPUT


def test_a_date_is_its_end_in_utc() -> None:
    assert day("2026-12-24", NOW) == datetime(2026, 12, 24, 23, 59, 59, tzinfo=UTC)
    assert day("2026-12-24T18:00", NOW) == datetime(2026, 12, 24, 18, tzinfo=UTC)
    assert day("2026-12-24 18:00+02:00", NOW) == datetime(2026, 12, 24, 16, tzinfo=UTC)


@pytest.mark.parametrize(("text", "why"), [("soon", "a date"), ("24.12.2026", "a date"), ("2026-11-22", "past")])
def test_dates_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        day(text, NOW)
