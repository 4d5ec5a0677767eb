"""The model finds what is lost and what comes back, and takes every order that calls side by side may have had."""

from dataclasses import replace
from math import inf

import pytest

from tests.faults.calls import Call, What, check

FIRST, SECOND = frozenset({"a"}), frozenset({"a", "b"})
GRANT = Call(What.GRANT, 1, 2, generation=1, end=100, lasts=100)
KEYS = Call(What.KEYS, 3, 4, key_generation=1, keys=FIRST)
RENEW = Call(What.RENEW, 5, 6, generation=2, end=200, lasts=200)
DELETE = Call(What.DELETE, 7, 8)
READ = Call(What.READ, 20, 21, generation=2, end=200, key_generation=1, keys=FIRST)
ABSENT = Call(What.READ, 20, 21, there=False)
LIVING = (GRANT, KEYS, RENEW)


def found(*calls: Call) -> list[str]:
    return [breach.why for breach in check("aa on n1", calls)]


def test_what_was_answered_and_is_there_is_good() -> None:
    assert found(*LIVING, READ) == []
    assert found(*LIVING, DELETE, ABSENT) == []
    assert found(*LIVING, DELETE) == []
    assert found(ABSENT) == []


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ((*LIVING, replace(READ, key_generation=0, keys=frozenset())), "keys are lost"),
        ((*LIVING, replace(READ, keys=frozenset())), "not the one that was given"),
        ((*LIVING, replace(KEYS, begun=6, ended=7, keys=SECOND), replace(READ, keys=SECOND)), "two key sets"),
        ((*LIVING, replace(READ, generation=1)), "a renewal is lost: generation 1"),
        ((*LIVING, replace(READ, end=100)), "a renewal is lost: the lease ends 100 s"),
        ((*LIVING, ABSENT), "it was granted"),
        ((*LIVING, DELETE, READ), "there again"),
        ((DELETE, READ), "there again"),
    ],
)
def test_each_loss_and_each_return_is_seen(calls: tuple[Call, ...], why: str) -> None:
    seen = found(*calls)
    assert len(seen) == 1, seen
    assert why in seen[0]


def test_calls_side_by_side_may_come_in_either_order() -> None:
    """Neither read is a breach: one order explains the first, the other one the second."""
    beside = replace(DELETE, begun=0, ended=9)
    for read in (READ, ABSENT):
        assert found(*LIVING, beside, read) == []
    later = replace(KEYS, begun=9, ended=22, key_generation=2, keys=SECOND)
    for generation, keys in ((1, FIRST), (2, SECOND)):
        assert found(*LIVING, later, replace(READ, key_generation=generation, keys=keys)) == []


def test_what_was_never_answered_explains_both() -> None:
    unanswered = replace(DELETE, ended=inf, done=None)
    assert found(*LIVING, unanswered, READ) == []
    assert found(*LIVING, unanswered, ABSENT) == []


def test_a_call_that_began_after_the_read_explains_nothing() -> None:
    assert found(*LIVING, replace(DELETE, begun=30, ended=31), ABSENT)


def test_a_lease_may_end_by_itself_and_not_before() -> None:
    assert found(GRANT, replace(ABSENT, begun=120, ended=121)) == []
    assert found(GRANT, RENEW, replace(ABSENT, begun=120, ended=121))


def test_a_late_deletion_of_an_earlier_ticket_says_nothing_of_the_next_sliver() -> None:
    grants = replace(GRANT, ticket="t1"), replace(GRANT, begun=9, ended=10, ticket="t2")
    read = replace(READ, generation=1, end=100, key_generation=0, keys=None)
    assert found(*grants, replace(DELETE, begun=12, ended=13, ticket="t1"), read) == []
    assert found(grants[0], replace(DELETE, begun=12, ended=13, ticket="t1"), read)


def test_an_old_database_explains_what_is_gone_and_what_is_there_again() -> None:
    back = Call(What.BACK, 10, 11)
    old = replace(READ, generation=1, end=100, key_generation=0, keys=frozenset())
    for read in (old, ABSENT):
        assert found(*LIVING, back, read) == []
    assert found(*LIVING, DELETE, back, old) == []
    assert found(*LIVING, back, replace(RENEW, begun=12, ended=13), old)
