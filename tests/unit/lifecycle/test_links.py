"""What a link says, and that nobody without the key says it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.links import Link
from lifecycle.seal import Seal

SEAL, OTHER = Seal(bytes(32)), Seal(b"x" * 32)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
LINKS = st.builds(Link, st.uuids(), MOMENTS, st.sampled_from([1, 3]))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(LINKS)
def test_it_is_read_as_it_was_written(link: Link) -> None:
    word = link.signed(SEAL)
    assert Link.read(word, SEAL) == link
    assert len(word) == 55
    assert set(word) <= set(LETTERS)
    assert Link.read(word, OTHER) is None


@given(LINKS, st.integers(0, 53), st.sampled_from(LETTERS))
def test_no_letter_of_it_can_be_another(link: Link, place: int, letter: str) -> None:
    word = link.signed(SEAL)
    changed = word[:place] + letter + word[place + 1 :]
    assert (Link.read(changed, SEAL) == link) is (changed == word)


@given(st.text(max_size=80) | st.text(LETTERS, max_size=80))
def test_other_words_are_none(word: str) -> None:
    assert Link.read(word, SEAL) is None


def test_two_links_differ_in_all_that_they_are_for() -> None:
    link = Link(UUID(int=1), datetime(2026, 12, 24, tzinfo=UTC), 1)
    others = (
        Link(UUID(int=2), link.deadline, 1),
        Link(link.slice, link.deadline + timedelta(microseconds=1), 1),
        Link(link.slice, link.deadline, 3),
    )
    assert len({each.signed(SEAL)[-22:] for each in (link, *others)}) == 4
