"""What podman is asked for."""

from __future__ import annotations

import io
import tarfile
import uuid
from pathlib import Path

from nodemgr.slivers.folder import Record
from nodemgr.slivers.podman import frame, specification
from nodemgr.slivers.view import Folders, entries

FOLDERS = Folders(home=Path("/n/s/home"), tmp=Path("/n/s/tmp"), etc=Path("/n/s/etc"), ssh=Path("/n/.ssh"))
RECORD = Record("ocean", uuid.UUID(int=1), "ocean_n1", 64, 10, 5000)


def test_a_container_has_no_rights_and_a_user_of_its_own() -> None:
    spec = specification(RECORD, entries("ocean", FOLDERS), "image", "name", "mark/")
    assert spec["cap_drop"] == ["ALL"]
    assert spec["no_new_privileges"]
    assert spec["read_only_filesystem"]
    one = [{"container_id": 0, "host_id": 5000, "size": 1}]
    assert spec["idmappings"]["UIDMap"] == spec["idmappings"]["GIDMap"] == one
    assert spec["hostname"] == "ocean-n1"
    assert spec["resource_limits"]["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert 10 < spec["resource_limits"]["pids"]["limit"] < 100


def test_only_home_and_tmp_can_be_written() -> None:
    spec = specification(RECORD, entries("ocean", FOLDERS), "image", "name", "mark/")
    binds = [mount for mount in spec["mounts"] if mount["type"] == "bind"]
    assert {mount["destination"] for mount in binds if "rw" in mount["options"]} == {"/home/ocean", "/tmp", "/var/tmp"}
    assert all({"nosuid", "nodev"} <= set(mount["options"]) for mount in spec["mounts"])
    assert "/sys" in {mount["destination"] for mount in spec["mounts"] if mount["type"] == "tmpfs"}


def test_the_image_is_the_same_each_time_and_holds_no_file() -> None:
    assert frame() == frame()
    with tarfile.open(fileobj=io.BytesIO(frame())) as tar:
        assert {"usr", "etc", "home", "tmp"} <= set(tar.getnames())
        assert not any(member.isfile() for member in tar)
