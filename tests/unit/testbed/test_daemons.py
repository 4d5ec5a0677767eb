"""The layout: who runs where, with which settings."""

import os
import subprocess
import sys
from pathlib import Path

from admin.roles import mains
from testbed.daemons import OURS, PORTS, Layout, real_nodes, simulated_groups, simulated_nodes
from testbed.embedded import Postgres, Valkey
from testbed.home import Home, Plan


def layout(tmp_path: Path, **wanted: object) -> Layout:
    home = Home(tmp_path / "home")
    home.make()
    ports = {name: 21_000 + number for number, name in enumerate(PORTS)}
    plan = Plan(network=7, ports=ports).changed(**wanted)
    return Layout(home, plan, Postgres(tmp_path / "database"), Valkey(tmp_path / "broker"))


def test_every_daemon_has_a_main_and_an_own_name(tmp_path: Path) -> None:
    found = layout(tmp_path, nodes=3, simulated=300, workers=2)
    specs = [found.mail(), found.plc(), *found.others()]
    assert {spec.run for spec in specs} <= mains().keys()
    assert len({spec.name for spec in specs}) == len(specs)
    assert [spec.name for spec in specs if spec.role == "worker"] == ["worker1", "worker2"]


def test_nodes_are_spread_over_sites_and_addresses(tmp_path: Path) -> None:
    plan = layout(tmp_path, nodes=4, simulated=2).plan
    assert [(n.name, n.address) for n in real_nodes(plan)] == [(f"n{i}", f"127.0.7.{i}") for i in range(1, 5)]
    assert [(n.name, n.address) for n in simulated_nodes(plan)] == [("s1", "127.7.1.1"), ("s2", "127.7.1.2")]
    assert len({node.site for node in real_nodes(plan)}) == 3


def test_a_few_hundred_simulated_nodes_share_a_process(tmp_path: Path) -> None:
    plan = layout(tmp_path, nodes=0, simulated=501).plan
    assert [(name, len(nodes)) for name, nodes in simulated_groups(plan)] == [("sim1", 250), ("sim2", 250), ("sim3", 1)]


def test_thousands_of_simulated_nodes_keep_to_the_rhythm_of_others(tmp_path: Path) -> None:
    for simulated, often in ((1_000, True), (1_001, False)):
        specs = layout(tmp_path, nodes=1, simulated=simulated).others()
        rhythms = {spec.run: "DSLICE_ADVERTISE_SECONDS" in spec.env for spec in specs if spec.role == "nodemgr"}
        assert rhythms == {"nodemgr": True, "simnodes": often}


def test_each_service_gets_the_database_role_of_its_own(tmp_path: Path) -> None:
    found = layout(tmp_path, nodes=1)
    roles = {
        s.name: s.env["DSLICE_DATABASE_URL"].split("@")[0]
        for s in (found.plc(), *found.others())
        if "DSLICE_DATABASE_URL" in s.env
    }
    assert roles["plc"].endswith("//plc")
    assert roles["agent"].endswith("//agent")
    assert {roles[name].rpartition("/")[2] for name in ("svmd", "worker1", "beat", "flower")} == {"svm"}
    assert "n1" not in roles


def test_settings_of_another_testbed_in_the_shell_are_left_behind(tmp_path: Path) -> None:
    """Whatever the layout sets for one daemon must not come from outside to another."""
    found = layout(tmp_path, nodes=1, simulated=1)
    own = {name for spec in (found.plc(), *found.others()) for name in spec.env}
    tunable = {"DSLICE_ADVERTISE_SECONDS", "DSLICE_NEIGHBOURS_SECONDS", "DSLICE_SLOTS", "DSLICE_MEMORY_MB"}
    assert own - tunable <= OURS | {"DSLICE_CA_OPERATOR", "DSLICE_SIMULATED_LATENCY_MS", "DSLICE_CONTROL_SOCKET"}


def test_what_is_imported_before_the_fork_starts_no_thread_and_reads_no_settings() -> None:
    program = (
        "import os, sys; from testbed import forking; forking.import_shared()\n"
        "print(len(os.listdir('/proc/self/task')), 'workers.app' in sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("DSLICE_")}
    found = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert found.stdout == "1 False\n", found.stderr
