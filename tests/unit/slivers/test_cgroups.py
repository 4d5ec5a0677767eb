"""Control groups of both versions, on trees of plain files: no test machine has both mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodemgr.slivers.limits.cgroups import SPARE_PROCESSES, Ceilings, Cgroups, available, of_process

V1 = "9:name=systemd:/\n8:pids:/node\n7:cpuset:/\n6:cpu,cpuacct:/node\n4:memory:/outer/node\n0::/\n"
V2 = "0::/system.slice/dslice-node.service\n"
CEILINGS = Ceilings(64, 10, 200)
ALL = 50 * (os.cpu_count() or 1)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    for folder in ("pids/node", "memory/outer/node", "cpu/node", "cpuacct/node", "cpuset"):
        (tmp_path / folder).mkdir(parents=True)
    for name, value in (("cpus", "0-1"), ("mems", "0")):
        (tmp_path / f"cpuset/cpuset.{name}").write_text(value)
    return tmp_path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    own = tmp_path / "system.slice/dslice-node.service"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (own / "cgroup.subtree_control").write_text("")
    return tmp_path


def opened(root: Path, own: str) -> Cgroups:
    found = available(Path("/state"), root, own)
    assert found is not None
    return found


def test_first_version_below_our_own_groups(first: Path) -> None:
    groups = opened(first, V1)
    assert groups.places["memory"].parent == first / "memory/outer/node"
    assert groups.places["pids"].parent == first / "pids/node"
    groups.make("ocean", CEILINGS)
    shown = groups.shown("ocean")
    assert set(shown) == {"memory", "pids", "cpu", "cpuacct", "cpuset"}
    assert (shown["memory"] / "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (shown["pids"] / "pids.max").read_text() == str(10 + SPARE_PROCESSES)
    assert (shown["cpu"] / "cpu.shares").read_text() == "2048"
    assert (shown["cpu"].parent / "cpu.shares").read_text() == str(ALL * 1024 // 100)
    assert (shown["cpuset"] / "cpuset.cpus").read_text() == "0-1"
    assert (shown["cpuset"] / "cpuset.mems").read_text() == "0"


def test_second_version_steps_into_a_child_of_its_own_first(second: Path) -> None:
    own = second / "system.slice/dslice-node.service"
    groups = opened(second, V2)
    leaf = next(path for path in own.iterdir() if path.name.endswith("-node"))
    assert (leaf / "cgroup.procs").read_text().isdigit()
    assert set(groups.places) == {"memory", "pids", "cpu"}
    groups.make("ocean", CEILINGS)
    assert list(groups.shown("ocean")) == [""]
    group = groups.shown("ocean")[""]
    assert (group.parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (group / "memory.max").read_text() == str(64 << 20)
    assert (group / "cpu.weight").read_text() == "200"
    (group / "memory.swap.max").write_text("max")  # a kernel that counts what is swapped
    groups.limit("ocean", CEILINGS)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group.parent / "cpu.weight").read_text() == str(ALL)
    assert groups.folders("ocean") == [group]


def test_a_machine_without_weights_has_the_rest(second: Path, first: Path) -> None:
    (second / "system.slice/dslice-node.service/cgroup.controllers").write_text("memory pids\n")
    groups = opened(second, V2)
    groups.make("ocean", CEILINGS)
    assert not (groups.shown("ocean")[""] / "cpu.weight").exists()
    assert "cpu" not in opened(first, "8:pids:/node\n4:memory:/outer/node\n").places


def test_beside_a_leaf_that_a_supervisor_made_for_the_node_manager(second: Path) -> None:
    """As deploy/systemd has it: the next node manager finds the leaf as empty of groups as this one did."""
    own = second / "system.slice/dslice-node.service"
    (own / "node").mkdir()
    (own / "cgroup.subtree_control").write_text("cpu memory pids\n")
    groups = opened(second, f"{V2.strip()}/node\n")
    groups.make("ocean", CEILINGS)
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
    assert one.places["memory"] != other.places["memory"]


def test_sessions_join_what_is_there_and_fail_where_they_cannot(first: Path) -> None:
    groups = opened(first, V1)
    assert groups.join("ocean") == ()
    assert groups.join(None) == ()
    words = groups.make("ocean", CEILINGS)
    assert words == groups.join("ocean")
    assert words[4:6] == (str(groups.places["memory"] / "ocean"), str(groups.places["pids"] / "ocean"))
    assert words[-1] == "--"
    assert "|| exit" in words[2]


def test_a_process_elsewhere_is_in_no_sliver_s_group(first: Path) -> None:
    assert opened(first, V1).name(os.getpid()) is None
    assert opened(first, V1).name(2**22 + 1) is None


def test_limits_of_a_group_that_is_not_there(first: Path) -> None:
    opened(first, V1).limit("ocean", CEILINGS)


def emptied(folder: Path) -> None:
    """As the kernel has it: files of control groups keep nobody from removing the folder."""
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


def test_dropping_waits_a_little_and_gives_up_quietly(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodemgr.slivers.limits.cgroups.time.sleep", lambda _seconds: None)
    groups = opened(first, V1)
    groups.make("ocean", CEILINGS)
    groups.drop("ocean")  # plain files hinder the removal, as processes would
    for folder in groups.folders("ocean"):
        emptied(folder)
        emptied(folder.parent)
    groups.drop("ocean")
    assert not any(place.exists() for place in groups.places.values())
    groups.drop("ocean")
    groups.drop(None)


def test_groups_that_nobody_is_in_are_swept(first: Path) -> None:
    groups = opened(first, V1)
    for name in ("ocean", "lake"):
        groups.make(name, CEILINGS)
    for folder in groups.folders("lake"):
        emptied(folder)
    groups.sweep()
    assert groups.folders("lake") == []
    assert len(groups.folders("ocean")) == 4  # those with files, which stand for processes


def test_the_groups_of_a_process_are_found_whoever_made_them() -> None:
    found = of_process(os.getpid())
    assert found
    for folder in found.values():
        assert str(os.getpid()) in (folder / "cgroup.procs").read_text().split()
