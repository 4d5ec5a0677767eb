"""Which user of the host a sliver's root is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodemgr.slivers.limits import hostuids
from trust.errors import Code, Refusal

WHOLE = "         0          0 4294967295\n"
CONTAINER = "0 100000 65536\n"
ALONE = "0 1000 1\n"


@pytest.mark.parametrize(
    ("text", "wanted", "there"),
    [
        (WHOLE, range(0x70000000, 0x70000010), True),
        (CONTAINER, range(0x70000000, 0x70000010), False),
        (CONTAINER, range(30_000, 60_000), True),
        (CONTAINER, range(65_530, 65_537), False),
        (ALONE, range(30_000, 30_001), False),
        ("0 0 1\n1 100000 65535\n", range(1, 65_536), True),
    ],
)
def test_mapped(text: str, wanted: range, there: bool) -> None:
    assert hostuids.mapped(text, wanted) is there


def test_the_first_free_uid() -> None:
    assert hostuids.first_free(range(10, 13), {10, 11}) == 12
    with pytest.raises(Refusal) as refused:
        hostuids.first_free(range(10, 13), {10, 11, 12})
    assert refused.value.code == Code.OVER_CAPACITY


def test_a_plain_user_has_none_to_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert hostuids.available(tmp_path) is None


def test_two_homes_of_root_take_different_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hostuids, "mapped", lambda _text, ids: ids.start >= 0x70000000)
    blocks = [hostuids.available(tmp_path / name) for name in ("a", "b")]
    assert None not in blocks
    assert blocks[0] != blocks[1]
    assert all(block is not None and len(block) == 1000 and block.start >= 0x70000000 for block in blocks)


def test_a_root_that_could_turn_the_kernels_switches_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Real root, and no other uid in sight: a sliver's root would be the host's."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hostuids, "mapped", lambda _text, _ids: False)
    monkeypatch.setattr(os, "access", lambda *_args: True)
    with pytest.raises(Refusal):
        hostuids.available(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_args: False)
    assert hostuids.available(tmp_path) is None
