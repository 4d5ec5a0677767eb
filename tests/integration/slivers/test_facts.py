"""What programs ask a machine about itself: its system, name, processors, interfaces, places for logs and state."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.frontdoor.conftest import add_slice, opened
from tests.integration.slivers.conftest import DRIVERS, Node, open_node, run_async


@pytest.fixture(scope="module", params=DRIVERS)
def ocean(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, podman: str | None
) -> Iterator[Node]:
    """A node with slivers `ocean` and `lake`, which these tests share."""
    with open_node(request.param, tmp_path_factory.mktemp("facts"), podman) as made:
        made.make("ocean")
        made.make("lake")
        yield made


def test_the_system_says_what_it_is(ocean: Node) -> None:
    if not os.path.exists("/etc/os-release"):
        pytest.skip("this host has no /etc/os-release")
    assert ocean.says("ocean", "cat /etc/os-release") == Path("/etc/os-release").read_text().rstrip("\n")


def test_each_sliver_has_a_machine_id_of_its_own_that_stays(node: Node) -> None:
    spec = node.make("ocean")
    node.make("lake")
    found = node.says("ocean", "cat /etc/machine-id")
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found != node.says("lake", "cat /etc/machine-id")
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.create(spec))
    assert node.says("ocean", "cat /etc/machine-id") == found
    if node.has_root:
        run_async(node.driver.reset("ocean"))
        assert node.says("ocean", "cat /etc/machine-id") == found


def test_logs_and_state_have_their_places_and_are_kept(node: Node) -> None:
    node.make("ocean")
    node.root_says("ocean", "for at in log lib cache; do mkdir -p /var/$at/tide; echo high >/var/$at/tide/now; done")
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "cat /var/*/tide/now") == "high\nhigh\nhigh"
    run_async(node.driver.delete("ocean"))
    assert [path.name for path in node.folder.iterdir() if not path.name.startswith(".")] == []


def test_nothing_of_the_host_s_state_is_there(ocean: Node) -> None:
    if ocean.has_root:
        pytest.skip("a machine has a system's state, which is its own")
    assert ocean.says("ocean", "ls -A /var/lib /var/log /var/cache | grep -v : | tr -d '\\n'") == ""


def test_processors_are_those_that_it_may_use(ocean: Node) -> None:
    usable = str(len(os.sched_getaffinity(0)))
    assert ocean.says("ocean", "nproc") == usable
    assert ocean.says("ocean", "ls -d /sys/devices/system/cpu/cpu0") == "/sys/devices/system/cpu/cpu0"
    assert ocean.run("ocean", "echo 0 >/sys/devices/system/cpu/cpu1/online").returncode != 0
    if shutil.which("lscpu"):
        said = ocean.says("ocean", "lscpu --json")
        fields = {each["field"]: each["data"] for each in json.loads(said)["lscpu"]}
        assert fields["CPU(s):"] == usable


def test_interfaces_are_the_node_s(ocean: Node) -> None:
    names = sorted(os.listdir("/sys/class/net"))[:16]
    assert ocean.says("ocean", "ls /sys/class/net").split() == names
    assert ocean.says("ocean", "cat /sys/class/net/lo/address") == "00:00:00:00:00:00"
    assert int(ocean.says("ocean", "cat /sys/class/net/lo/statistics/rx_bytes")) >= 0
    assert ocean.run("ocean", "echo 1500 >/sys/class/net/lo/mtu").returncode != 0


def test_ansible_gathers_its_facts(ocean: Node, tmp_path: Path) -> None:
    ansible = Path(sys.executable).with_name("ansible")
    if not ansible.exists():
        pytest.skip("ansible-core is not installed here; it is of the extra dev")
    if not ocean.says("ocean", "command -v python3 || true"):
        pytest.skip("no python3 of the system's")
    with opened(tmp_path, ocean.driver) as door:
        add_slice(door, "sea")
        ssh = f"ansible_ssh_common_args='-F {tmp_path}/config -o ControlMaster=no' ansible_port={door.port}"
        user = f"ansible_user=sea ansible_ssh_private_key_file={door.key} ansible_python_interpreter=auto_silent"
        (tmp_path / "hosts").write_text(f"{door.address} {ssh} {user}\n")
        command = [str(ansible), "all", "-i", str(tmp_path / "hosts"), "-m", "setup", "--tree", str(tmp_path / "tree")]
        environment = os.environ | {"ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        own = ocean.says("sea", "cat /etc/machine-id")
    assert done.returncode == 0, (done.stdout, done.stderr)
    facts = json.loads((tmp_path / "tree" / door.address).read_text())["ansible_facts"]
    assert facts["ansible_distribution"] not in ("OtherLinux", "NA")
    assert facts["ansible_machine_id"] == own
    assert "lo" in facts["ansible_interfaces"]
    assert facts["ansible_processor_nproc"] == len(os.sched_getaffinity(0))
    assert facts["ansible_memtotal_mb"] == 512
    assert facts["ansible_hostname"] == "sea-n1"
