"""What a sliver is shown of /sys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodemgr.slivers.inside import sysfs


@pytest.mark.parametrize(
    ("processors", "said"), [({0}, "0"), ({0, 1}, "0-1"), ({5, 1, 2, 3, 7, 8}, "1-3,5,7-8"), (set(), "")]
)
def test_processors_are_listed_as_the_kernel_does(processors: set[int], said: str) -> None:
    assert sysfs.listed(processors) == said


def test_a_node_that_may_not_use_all_processors_shows_those_that_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 999})
    targets = {bind.target: bind.source for bind in sysfs.shown(tmp_path)}
    assert targets["/sys/devices/system/cpu/online"].read_text() == "0,999\n"
    monkeypatch.undo()
    assert all(bind.source.is_relative_to("/sys") for bind in sysfs.shown(tmp_path) if bind.source.is_dir())
