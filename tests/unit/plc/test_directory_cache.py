"""How often plc is asked for its directory, and what counts while it is away."""

from collections.abc import Callable

import pytest

from plc.client import PLC, AgentEntry, Directory, DirectoryCache
from trust.errors import Code, Refusal

KNOWN = Directory(PLC, "", svmd=None, svm=None, agents=(AgentEntry("main", "https://127.0.0.1:7444"),))
EMPTY = Directory(PLC, "", svmd=None, svm=None, agents=())


def asking(*answers: Directory | None) -> Callable[[], Directory]:
    """plc with these answers in turn; None: it is away."""
    left = iter(answers)

    def ask() -> Directory:
        answer = next(left)
        if answer is None:
            raise Refusal(Code.UNREACHABLE, "plc is away")
        return answer

    return ask


def test_it_is_asked_once() -> None:
    directory = DirectoryCache(asking(KNOWN))
    assert (directory(), directory()) == (KNOWN, KNOWN)


def test_nothing_is_known_before_it_answers() -> None:
    directory = DirectoryCache(asking(None, EMPTY))
    with pytest.raises(Refusal):
        directory()
    assert (directory(), directory()) == (EMPTY, EMPTY)


def test_later_it_is_asked_again_and_what_it_said_last_serves_while_it_is_away() -> None:
    directory = DirectoryCache(asking(KNOWN, None, EMPTY), seconds=-1)
    assert [directory() for _ in range(3)] == [KNOWN, KNOWN, EMPTY]
