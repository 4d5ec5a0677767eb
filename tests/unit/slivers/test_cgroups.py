"""Control groups of both versions, on trees of plain files: no test machine has both mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodemgr.slivers.limits.cgroups import SPARE_PROCESSES, Cgroups, available

V1 = "9:name=systemd:/\n8:pids:/node\n4:memory:/outer/node\n0::/\n"
V2 = "0::/system.slice/dslice-node.service\n"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    (tmp_path / "pids/node").mkdir(parents=True)
    (tmp_path / "memory/outer/node").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    own = tmp_path / "system.slice/dslice-node.service"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpu memory pids\n")
    (own / "cgroup.subtree_control").write_text("")
    return tmp_path


def opened(root: Path, own: str) -> Cgroups:
    found = available(Path("/state"), root, own)
    assert found is not None
    return found


def test_first_version_below_our_own_groups(first: Path) -> None:
    groups = opened(first, V1)
    assert groups.memory.parent == first / "memory/outer/node"
    assert groups.processes.parent == first / "pids/node"
    groups.hold("ocean", 42, memory_mb=64, processes=10)
    assert (groups.memory / "ocean/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (groups.processes / "ocean/pids.max").read_text() == str(10 + SPARE_PROCESSES)
    assert {(folder / "cgroup.procs").read_text() for folder in groups.folders("ocean")} == {"42"}


def test_second_version_steps_into_a_child_of_its_own_first(second: Path) -> None:
    own = second / "system.slice/dslice-node.service"
    groups = opened(second, V2)
    leaf = next(path for path in own.iterdir() if path.name.endswith("-node"))
    assert (leaf / "cgroup.procs").read_text().isdigit()
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"
    groups.hold("ocean", 42, memory_mb=64, processes=10)
    assert (groups.memory / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (groups.memory / "ocean/memory.max").read_text() == str(64 << 20)
    assert groups.folders("ocean") == [groups.memory / "ocean"]


def test_beside_a_leaf_that_a_supervisor_made_for_the_node_manager(second: Path) -> None:
    """As deploy/systemd has it: the next node manager finds the leaf as empty of groups as this one did."""
    own = second / "system.slice/dslice-node.service"
    (own / "node").mkdir()
    (own / "cgroup.subtree_control").write_text("cpu memory pids\n")
    groups = opened(second, f"{V2.strip()}/node\n")
    assert groups.folders("ocean")[0].parent.parent == own
    assert list((own / "node").iterdir()) == []
    assert not [path for path in own.iterdir() if path.name.endswith("-node")]


def test_a_group_that_others_share_is_left_alone(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_args: object, **_kwargs: object) -> int:
        raise OSError(16, "Device or resource busy", str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    assert available(Path("/state"), second, V2) is None


def test_no_groups_where_there_are_none(tmp_path: Path) -> None:
    assert available(Path("/state"), tmp_path, V1) is None
    assert available(Path("/state"), tmp_path, V2) is None
    assert available(Path("/state"), tmp_path, "0::/\n") is None


def test_several_node_managers_do_not_meet(first: Path) -> None:
    one, other = (available(Path(state), first, V1) for state in ("/a", "/b"))
    assert one is not None
    assert other is not None
    assert one.memory != other.memory


def test_sessions_join_what_is_there_and_fail_where_they_cannot(first: Path) -> None:
    groups = opened(first, V1)
    assert groups.join("ocean") == ()
    groups.hold("ocean", 42, memory_mb=64, processes=10)
    words = groups.join("ocean")
    assert words[-3:] == (str(groups.memory / "ocean"), str(groups.processes / "ocean"), "--")
    assert "|| exit" in words[2]


def test_limits_of_a_group_that_is_not_there(first: Path) -> None:
    opened(first, V1).limit("ocean", memory_mb=64, processes=10)


def test_dropping_waits_a_little_and_gives_up_quietly(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodemgr.slivers.limits.cgroups.time.sleep", lambda _seconds: None)
    groups = opened(first, V1)
    groups.hold("ocean", 42, memory_mb=64, processes=10)
    groups.drop("ocean")  # plain files hinder the removal, as processes would
    for folder in groups.folders("ocean"):
        for file in folder.iterdir():
            file.unlink()
    groups.drop("ocean")
    assert not groups.memory.exists()
    groups.drop("ocean")
