"""A sliver that fills its own disk with files: it ends at the bound, and its neighbours notice nothing."""

from __future__ import annotations

import dataclasses

import pytest

from tests.integration.slivers.conftest import Node, run_async

MANY = """
import os
try:
    for number in range(1_000_000):
        os.mknod(os.path.expanduser(f"~/{number}"))
except OSError as full:
    print(full.errno, number)
"""


def test_a_million_files_end_at_the_bound_of_the_disk(node: Node) -> None:
    if node.driver.quota != "hard":
        pytest.skip("slivers of this driver have no disks of their own here")
    for slice in ("ocean", "other"):
        node.made.append(slice)
        run_async(node.driver.create(dataclasses.replace(node.spec(slice), disk_mb=48)))
    error, files = map(int, node.says("ocean", f"python3 -c '{MANY}'").split())
    assert error == 28  # ENOSPC
    assert 10_000 < files < 17_000
    assert node.says("other", "seq 1000 | (cd ~; xargs touch) && ls ~ | wc -l") == "1000"
    assert node.says("ocean", "rm ~/1 && touch ~/again && echo room") == "room"
