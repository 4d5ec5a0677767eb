"""Whose subordinate ids are whose (subuid(5))."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from nodemgr.slivers.process import ownids
from trust.errors import Refusal

ME = os.geteuid()
NAME = pwd.getpwuid(ME).pw_name


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (f"{NAME}:100000:65536\n", 100000),
        (f"{ME}:200000:131072\n", 200000),
        (f"# ids\nsomebody:1:65536\n\n{NAME}:300000:1000\n{NAME}:400000:65536\n", 400000),
        (f"{NAME}:x:65536\n{NAME}:500000\n{NAME}:600000:65536:more\n{NAME}:700000:65536", 700000),
    ],
)
def test_the_first_range_that_is_large_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, first: int
) -> None:
    monkeypatch.setattr(ownids, "_ETC", tmp_path)
    (tmp_path / "subuid").write_text(text)
    assert ownids._first("subuid", ME) == first


@pytest.mark.parametrize("text", [None, "", f"{NAME}:100000:65535\n", "somebody:100000:65536\n"])
def test_without_one_it_says_what_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.setattr(ownids, "_ETC", tmp_path)
    if text is not None:
        (tmp_path / "subgid").write_text(text)
    with pytest.raises(
        Refusal, match=r"subgid gives user \d+ no range of 65,536 ids; as root, .*: usermod --add-subuids"
    ):
        ownids._first("subgid", ME)


def test_root_of_the_host_has_no_ids_of_its_own() -> None:
    if ME == 0:
        assert ownids.outside() is None
