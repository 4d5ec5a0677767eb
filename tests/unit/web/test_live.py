"""What an open page is told."""

import asyncio
from collections.abc import Callable

from svm.web.live import changes, tag_of_slice, tag_of_slices
from trust.errors import Code, Refusal


def first_told(look: Callable[[], str], known: str, looks: int = 5) -> int:
    """After how many looks a page that shows `known` is told that it has changed."""
    seen = 0

    def counted() -> str:
        nonlocal seen
        seen += 1
        assert seen <= looks, "it is never told"
        return look()

    async def wait() -> None:
        async for sent in changes(counted, 0, known):
            if b"changed" in sent:
                return

    asyncio.run(wait())
    return seen


def test_what_happened_while_a_page_was_drawn_is_told_at_the_first_look() -> None:
    assert first_told(lambda: "2", known="1") == 1


def test_a_page_that_shows_the_newest_is_told_of_the_next() -> None:
    states = iter(["1", "1", "2"])
    assert first_told(lambda: next(states), known="1") == 3


def test_trouble_is_told_too() -> None:
    def look() -> str:
        raise Refusal(Code.UNREACHABLE, "svmd is away")

    assert first_told(look, known="1") == 1


def test_what_doctor_adds_does_not_count() -> None:
    plain = [{"name": "demo", "nodes": {"running": 2}}]
    assert tag_of_slices(plain) == tag_of_slices([{**plain[0], "operations": [{"verb": "renewslice"}]}])
    assert tag_of_slices(plain) != tag_of_slices([{"name": "demo", "nodes": {"running": 1}}])


def test_a_slice_has_changed_with_its_newest_event() -> None:
    events = [{"operation": "a", "seq": 1}, {"operation": "b", "seq": 1}]
    assert tag_of_slice(events) == tag_of_slice(events[1:])
    assert tag_of_slice(events) != tag_of_slice(events[:1])
    assert tag_of_slice([])
