"""What a sliver's files take on the disk, and a removal that takes too long."""

from __future__ import annotations

import pytest

from nodemgr.slivers.inside import folder
from tests.integration.slivers.conftest import Node, run_async
from trust.errors import Code, Refusal


def test_files_are_counted_wherever_the_sliver_hides_them(node: Node) -> None:
    node.make("ocean")
    before = run_async(node.driver.disk_kib("ocean"))
    node.says(
        "ocean",
        "mkdir ~/shut /tmp/shut; for at in ~/shut /tmp/shut; do head -c 3M /dev/zero > $at/file; done;"
        " chmod 0 ~/shut /tmp/shut; ln -s / ~/all",
    )
    grown = run_async(node.driver.disk_kib("ocean")) - before
    assert 2 * 3 * 1000 <= grown < 2 * 4 * 1024
    assert run_async(node.driver.disk_kib("never_made")) == 0


def test_many_files_count_however_small(node: Node) -> None:
    node.make("ocean")
    before = run_async(node.driver.disk_kib("ocean"))
    node.says("ocean", "cd ~; seq 3000 | xargs touch")
    assert run_async(node.driver.disk_kib("ocean")) - before + 16 * 100 >= 3000 * 16


def test_a_removal_that_took_too_long_goes_on_where_it_was(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.make("ocean")
    node.says("ocean", "echo old > ~/file")

    def late(*_: object, **__: object) -> str:
        raise Refusal(Code.TIMEOUT, "find took more than 30 s")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "run_helper", late)
        for _ in range(2):
            with pytest.raises(Refusal):
                run_async(node.driver.delete("ocean"))
    assert run_async(node.driver.list()) == {}
    (left,) = node.folder.glob(".removed-*")
    assert (left / node.home("ocean").relative_to(node.folder / "ocean") / "file").exists()
    run_async(node.driver.delete("ocean"))
    assert list(node.folder.glob(".removed-*")) == []
