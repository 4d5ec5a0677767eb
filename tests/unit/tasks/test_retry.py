"""When a step is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.retry import TRANSIENT, Patience, again_in
from trust.errors import Code

PATIENCE = Patience(times=3, seconds=30)


def delay(
    code: Code = Code.TIMEOUT, tries: int = 0, age: float = 0, connect: float = 2, draw: float = 1
) -> float | None:
    return again_in(code, tries=tries, age=age, connect_timeout=connect, patience=PATIENCE, draw=lambda: draw)


def test_delays_have_full_jitter_below_a_doubling_limit() -> None:
    assert [delay(tries=tries) for tries in range(4)] == [1, 2, 4, None]
    assert delay(draw=0) == 0


@pytest.mark.parametrize("code", list(Code))
def test_only_what_may_pass_is_tried_again(code: Code) -> None:
    assert (delay(code) is not None) is (code in TRANSIENT)


def test_a_try_that_could_not_end_in_time_is_not_begun() -> None:
    assert delay(age=10, connect=10) is not None
    assert delay(age=21, connect=10) is None
    assert delay(age=44, connect=2) is None


@given(st.integers(0, 10), st.floats(0, 100), st.floats(0, 60), st.floats(0, 1))
def test_no_wait_outlasts_the_patience(tries: int, age: float, connect: float, draw: float) -> None:
    found = delay(tries=tries, age=age, connect=connect, draw=draw)
    assert found is None or (0 <= found <= 60 and age + found + connect <= 30)
