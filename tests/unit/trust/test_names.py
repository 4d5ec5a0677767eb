import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import Code, Refusal
from trust.names import RESERVED_LOGINS, check_slice_name


@pytest.mark.parametrize("name", ["oceanstore", "ab", "a1", "a_b", "a" * 31, "princeton_codeen", "test"])
def test_slice_names_are_returned(name: str) -> None:
    assert check_slice_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a", "A1", "1a", "_a", "a" * 32, "ocean-store", "ocean.store", "oceans\u00e9", "ocean\n", " ocean", "../x"],
)
def test_what_is_no_slice_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check_slice_name(name)
    assert refusal.value.code is Code.BAD_INPUT


@pytest.mark.parametrize("name", ["root", "daemon", "nobody", "sshd", "mail", "postgres", "sync", "dslice", "svm"])
def test_logins_of_the_system_are_refused(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check_slice_name(name)
    assert refusal.value.code is Code.BAD_INPUT
    assert "reserve" in refusal.value.reason


def test_every_reserved_login_would_else_be_a_slice_name() -> None:
    assert [name for name in RESERVED_LOGINS if not re.fullmatch("[a-z][a-z0-9_]{1,30}", name)] == []


@given(st.text(max_size=40) | st.from_regex("[a-z0-9_]{0,33}"))
def test_a_name_is_refused_or_safe_as_a_login(name: str) -> None:
    with contextlib.suppress(Refusal):
        assert check_slice_name(name) == name
        assert re.fullmatch("[a-z][a-z0-9_]{1,30}", name)
        assert name not in RESERVED_LOGINS
