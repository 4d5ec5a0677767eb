"""Who may stay, and when terminals hear that a lease ends."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from nodemgr.access import Access
from nodemgr.frontdoor.variables import accepted
from nodemgr.frontdoor.welcome import unwelcome, warning
from trust.sshkeys import new_ssh_key_pair, parse_public_key

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
KEY, SLICE_KEY = (parse_public_key(new_ssh_key_pair("")[1]) for _ in range(2))
ACCESS = Access("ocean", uuid.UUID(int=1), (KEY,), SLICE_KEY, NOW + timedelta(hours=2), frozenset())


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        (ACCESS, None),
        (None, "ocean no longer runs on this node"),
        (dataclasses.replace(ACCESS, slice_id=uuid.UUID(int=2)), "ocean no longer runs on this node"),
        (dataclasses.replace(ACCESS, expires_at=NOW), "the lease of ocean on this node has ended"),
        (dataclasses.replace(ACCESS, keys=()), "your key no longer opens ocean"),
        (dataclasses.replace(ACCESS, stopped="it was stopped"), "it was stopped"),
    ],
)
def test_why_somebody_may_not_stay(access: Access | None, reason: str | None) -> None:
    assert unwelcome(ACCESS, KEY, access, NOW) == reason


def test_who_comes_while_it_is_stopped_may_stay_and_goes_on_when_it_runs() -> None:
    stopped = dataclasses.replace(ACCESS, stopped="it was stopped")
    assert unwelcome(stopped, KEY, stopped, NOW) is None
    assert unwelcome(stopped, KEY, ACCESS, NOW) is None
    assert unwelcome(stopped, KEY, dataclasses.replace(stopped, keys=()), NOW) == "your key no longer opens ocean"


def test_each_warning_is_given_once_and_anew_after_a_renewal() -> None:
    looks = [None, 3700, 3600, 3599, 601, 599, 61, 60, 59, 7200, 3000, 1]
    said = [warning(ACCESS, before, left) for before, left in pairwise(looks) if left is not None]
    words = [text and text.split(" ends in ")[1].split(",")[0] for text in said]
    assert words == [None, "an hour", None, None, "ten minutes", None, "a minute", None, None, "an hour", "a minute"]


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("LANG", b"C", True),
        ("LC_PAPER", b"", True),
        ("MY_THING", b"x", True),
        ("THING", b"x", False),
        ("LD_PRELOAD", b"/x", False),
        ("PATH", b"/x", False),
        ("BASH_ENV", b"/x", False),
        ("SSH_AUTH_SOCK", b"/x", False),
        ("LANG", b"a\0b", False),
        ("LANG", bytes(5000), False),
        ("LC_A=B", b"", False),
        ("", b"", False),
    ],
)
def test_variables_that_are_taken(name: str, value: bytes, taken: bool) -> None:
    assert accepted(["MY_*", "LD_*", "PATH", "BASH*", "SSH_*"], name, value) is taken
