"""What podman is asked for, and what is done when it is busy."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path

import docker.errors
import pytest

from nodemgr.slivers.drivers.container import frame, machine_specification, specification
from nodemgr.slivers.drivers.podman import once_free
from nodemgr.slivers.inside.folder import Record
from nodemgr.slivers.inside.view import Folders, entries

GONE = "read /proc/24596/cgroup: no such process"
BUSY = "unlinkat …/userdata/shm: device or resource busy"
FOLDERS = Folders(
    home=Path("/n/s/home"), tmp=Path("/n/s/tmp"), var=Path("/n/s/var"), etc=Path("/n/s/etc"), ssh=Path("/n/.ssh")
)
WRITABLE = {"/home/ocean", "/tmp", "/var/tmp", "/var/cache", "/var/lib", "/var/log"}
RECORD = Record("ocean", uuid.UUID(int=1), "ocean_n1", 64, 10, 5000)


def test_a_container_has_no_rights_and_a_user_of_its_own() -> None:
    spec = specification(RECORD, entries("ocean", FOLDERS), "image", "name", "mark/")
    assert spec["cap_drop"] == ["ALL"]
    assert spec["no_new_privileges"]
    assert spec["stop_signal"] == 9  # the first process takes no other
    assert spec["read_only_filesystem"]
    one = [{"container_id": 0, "host_id": 5000, "size": 1}]
    assert spec["idmappings"]["UIDMap"] == spec["idmappings"]["GIDMap"] == one
    assert spec["hostname"] == "ocean-n1"
    assert spec["resource_limits"]["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert 10 < spec["resource_limits"]["pids"]["limit"] < 100


def test_a_machine_has_65536_users_and_no_right_to_mount() -> None:
    spec = machine_specification(RECORD, Path("/n/ocean"), "image", "name", "mark/")
    mapped = [{"container_id": 0, "host_id": 5000, "size": 65536}]
    assert spec["idmappings"]["UIDMap"] == spec["idmappings"]["GIDMap"] == mapped
    assert spec["cap_drop"] == ["ALL"]
    assert {"CAP_CHOWN", "CAP_SETUID"} <= set(spec["cap_add"])
    assert not {"CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_MKNOD"} & set(spec["cap_add"])
    assert spec["seccomp_profile_path"] == "/n/ocean/seccomp.json"
    assert all("ro" in mount["options"] for mount in spec["mounts"] if mount["type"] == "bind")


def test_only_home_tmp_and_what_is_in_var_can_be_written() -> None:
    spec = specification(RECORD, entries("ocean", FOLDERS), "image", "name", "mark/")
    binds = [mount for mount in spec["mounts"] if mount["type"] == "bind"]
    assert {mount["destination"] for mount in binds if "rw" in mount["options"]} == WRITABLE
    assert all({"nosuid", "nodev"} <= set(mount["options"]) for mount in spec["mounts"])
    assert "/sys" in {mount["destination"] for mount in spec["mounts"] if mount["type"] == "tmpfs"}


def test_the_image_is_the_same_each_time_and_holds_no_file() -> None:
    assert frame() == frame()
    with tarfile.open(fileobj=io.BytesIO(frame())) as tar:
        assert {"usr", "etc", "home", "tmp"} <= set(tar.getnames())
        assert not any(member.isfile() for member in tar)


def removal(*errors: str) -> tuple[list[str], Callable[[], None]]:
    """What is left of `errors`, one raised at each call, and the call."""
    left = list(errors)

    def remove() -> None:
        if left:
            raise docker.errors.APIError(left.pop(0))

    return left, remove


def test_it_is_tried_again_while_the_container_is_busy() -> None:
    left, remove = removal(BUSY, GONE, BUSY)
    once_free(remove, 0)
    assert left == []


def test_another_error_is_no_reason_to_try_again() -> None:
    left, remove = removal("no space left on device", BUSY)
    with pytest.raises(docker.errors.APIError, match="no space"):
        once_free(remove, 0)
    assert left == [BUSY]


def test_one_that_stays_busy_is_given_up() -> None:
    _, remove = removal(*[BUSY] * 100)
    with pytest.raises(docker.errors.APIError, match="busy"):
        once_free(remove, 0)
