"""The form of a new slice, checked as it is typed."""

from datetime import UTC, datetime

import pytest

from svm.slicefile import parse_slice_file
from svm.web.creating import check

NOW = datetime(2026, 1, 10, tzinfo=UTC)
GOOD = {"name": "coral", "numnodes": "2", "length": "3", "unit": "days"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Xs0rkYZ2N5d5Zt0Jw2c3y5n8yq3q1YB4v7bYw2oP5 alice"


def test_a_form_is_the_file_that_it_means() -> None:
    wanted = check(GOOD | {"ips": "10.0.0.2, 10.0.0.1\n10.0.0.2"}, NOW)
    assert wanted.errors == {}
    assert wanted.file is not None
    assert wanted.xml is not None
    assert (wanted.file.numnodes, wanted.file.leaselen, wanted.file.ips) == (2, 259_200, ("10.0.0.2", "10.0.0.1"))
    assert parse_slice_file(wanted.xml.encode()) == wanted.file


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Coral Reef"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "<slice>"}, "name"),
        ({"numnodes": "0"}, "numnodes"),
        ({"numnodes": "many"}, "numnodes"),
        ({"length": "15"}, "length"),
        ({"length": "-1"}, "length"),
        ({"ips": "node7"}, "ips"),
        ({"ips": "10.0.0.1"}, "ips"),
        ({"key": "no key"}, "key"),
        ({"until": "2027-01-01"}, "until"),
        ({"until": "2025-01-01", "autorenew": "yes"}, "until"),
    ],
)
def test_each_field_says_what_is_wrong_with_it(wrong: dict[str, str], said: str) -> None:
    wanted = check(GOOD | wrong, NOW)
    assert list(wanted.errors) == [said]
    assert wanted.file is None
    assert wanted.xml is None


def test_all_that_is_wrong_is_said_at_once() -> None:
    wanted = check({"name": "X Y", "numnodes": "x", "length": "0", "unit": "weeks", "key": "?"}, NOW)
    assert set(wanted.errors) == {"name", "numnodes", "length", "key"}


def test_keys_and_the_end_of_autorenew() -> None:
    wanted = check(GOOD | {"key": f"{KEY}\n{KEY}", "autorenew": "yes", "until": "2026-02-01"}, NOW)
    assert wanted.errors == {}
    assert {key.split()[1] for key in wanted.keys} == {KEY.split()[1]}
    assert wanted.until == datetime(2026, 2, 1, 23, 59, 59, tzinfo=UTC)
