"""The page about clients, and the list of what CI installs, say what the bench does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import differences, table
from tests.clients.installed import QUICK

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", [table.table, differences.table], ids=["clients", "differences"])
def test_the_page_has_the_table(part: object) -> None:
    assert callable(part)
    assert part() in (ROOT / "docs/clients.md").read_text(), f"docs/clients.md should have\n{part()}"


def test_ci_installs_what_takes_a_minute() -> None:
    listed = (ROOT / ".ci/run").read_text()
    assert [pair for pair in map(":".join, QUICK.items()) if f" {pair}" not in listed] == []
