"""docs/installing.md, typed on a machine of its own under a real systemd, with PostgreSQL and Redis of Debian: units,
users, rights, and what a restart of each part leaves alone."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.lab import until
from tests.install.conftest import LONGEST, ROOT, done
from tests.install.machine import Machine, booted

NEEDED = ("mmdebstrap", "unshare", "nsenter", "/usr/bin/python3")
PACKAGES = "systemd,systemd-sysv,dbus,python3,bubblewrap,util-linux,e2fsprogs,iproute2,procps,postgresql,redis-server"
PAGE = (ROOT / "docs/installing.md").read_text()
PASSWORD = "a-word-of-this-test"
NAMES = "127.0.0.1 plc.example.org agent.example.org svm.example.org"
AS_PLC = (
    "runuser -u dslice-plc -- env DSLICE_CONFIG=/etc/dslice/plc.toml DSLICE_STATE_DIR=/var/lib/dslice/plc"
    " /opt/dslice/bin/"
)
EDITED = (
    f"sed -i 's/PASSWORD/{PASSWORD}/' /etc/dslice/*.toml; "
    "sed -Ei 's/^# (name|node_address|plc_url|enroll_token_file) =/\\1 =/' /etc/dslice/node.toml; "
    f"printf 'metrics_token = \"{PASSWORD}\"\\nready_slivers = 0\\n' >>/etc/dslice/node.toml"
)
TOKENS = {"agent": "-m 0640 -g dslice-agent", "svm": "-m 0640 -g dslice-svm", "node": "-m 0600"}

pytestmark = [
    pytest.mark.usefixtures("index"),
    pytest.mark.skipif(os.geteuid() != 0, reason="boots a root file system, as root"),
    *(pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}") for name in NEEDED),
]


@pytest.fixture(scope="module")
def machine(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Debian with the wheel in /opt/dslice and the sources in /srv/dslice, booted."""
    root = tmp_path_factory.mktemp("machine") / "root"
    suite = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)", Path("/etc/os-release").read_text(), re.MULTILINE))
    asked = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite["VERSION_CODENAME"], root]
    made = subprocess.run(asked, capture_output=True, text=True, timeout=LONGEST)
    if made.returncode:
        pytest.skip(f"mmdebstrap makes no root file system here: {made.stderr.strip()[-300:]}")
    try:
        environment(checkout, root)
        shutil.copytree(ROOT / "deploy", root / "srv/dslice/deploy")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{NAMES}\n")
        with (root / "etc/redis/redis.conf").open("a") as conf:
            conf.write(f"requirepass {PASSWORD}\nmaxmemory-policy noeviction\n")
        with booted(root) as found:
            found.run("ip address add 192.0.2.11/32 dev lo")
            yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


def environment(checkout: Path, root: Path) -> None:
    """`pip install 'dslice-….whl[server,node]'` in /opt/dslice there, made here, where pip has its index."""
    venv = root / "opt/dslice"
    done("/usr/bin/python3", "-m", "venv", "--without-pip", "--symlinks", venv)
    (wheel,) = (checkout / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", f"--python={venv / 'bin/python'}", "install", "-q", "--no-compile"]
    done(
        *pip, "--disable-pip-version-check", "--constraint", checkout / "dist/constraints.txt", f"{wheel}[server,node]"
    )
    for program in (path for path in (venv / "bin").iterdir() if path.is_file() and not path.is_symlink()):
        program.write_text(program.read_text().replace(f"#!{root}", "#!"))


def commands(heading: str) -> list[str]:
    """What a part of the page has typed."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\$ (.*)$", part, re.MULTILINE)


def typed(machine: Machine, command: str) -> str:
    """A command of the page, as its text says who types it where."""
    if command.startswith("dslice plc token "):
        _, _, _, role, name, *_ = command.split()
        file = f"/etc/dslice/{'token' if role == 'node' else f'{name}.token'}"
        return machine.run(f"{AS_PLC}{command} | install {TOKENS[role]} /dev/stdin {file}")
    if command.startswith("dslice plc "):
        return machine.run(f"{AS_PLC}{command}", f"{PASSWORD}\n{PASSWORD}\n")
    if command.startswith(("createdb", "POSTGRES_DB")):
        said = command.replace("…", PASSWORD.replace(" ", "-"))
        return machine.run(f"cd /srv/dslice; runuser -u postgres -- sh -euc '{said}'")
    edited = command.replace("$EDITOR /etc/dslice/*.toml", f"({EDITED})")
    return machine.run(f"cd /srv/dslice; PATH=/opt/dslice/bin:$PATH; {edited}")


def test_systemd_is_process_1_and_is_well(machine: Machine) -> None:
    assert machine.run("cat /proc/1/comm; systemctl is-system-running --wait") == "systemd\nrunning\n"


@pytest.mark.parametrize("heading", ["Who runs what", "The database and the broker", "The first day"])
def test_the_page_is_typed(machine: Machine, heading: str) -> None:
    found = commands(heading)
    assert found
    for command in found:
        typed(machine, command)


def units() -> dict[str, tuple[str, str]]:
    """The page's table: by unit its user, and the port of its metrics (none where it has one of its own)."""
    rows = re.findall(r"^\| `(dslice-[\w@]+)`.*?\| ([\w-]+) \|(.*)\|$", PAGE, re.MULTILINE)
    return {unit: (user, "".join(re.findall(r"127\.0\.0\.1:(\d+)", rest)[:1])) for unit, user, rest in rows}


def test_each_unit_runs_as_its_user_and_is_ready(machine: Machine) -> None:
    told = units()
    assert len(told) == 8
    for unit, (user, port) in told.items():
        assert machine.runs(unit), machine.run(f"systemctl status -n 30 {unit} || true")
        assert machine.run(f"stat -c %U /proc/$(systemctl show -P MainPID {unit})").strip() == user
        if port:
            assert machine.run(f"/opt/dslice/bin/dslice health --wait 60 127.0.0.1:{port}") == "ready\n"
    assert machine.run("/opt/dslice/bin/dslice health --wait 60 127.0.0.1:5555") == "ready\n"
    assert machine.run("systemctl --failed --no-legend") == ""
    assert machine.run("systemctl show -P NRestarts 'dslice-*'").split() == ["0"] * len(told)


@pytest.mark.parametrize("user", ["dslice-agent", "dslice-svm", "dslice-queue", "nobody"])
def test_nobody_reads_what_is_anothers(machine: Machine, user: str) -> None:
    files = "/etc/dslice/*.toml /etc/dslice/*token /var/lib/dslice/plc /var/lib/dslice/node"
    script = f'for each in {files}; do [ ! -r "$each" ] || echo "$each"; done'
    read = machine.run(f"runuser -u {user} -- sh -c '{script}'").split()
    own = {"dslice-agent": ("agent",), "dslice-svm": ("svm",), "dslice-queue": ("beat", "flower"), "nobody": ()}[user]
    assert {Path(path).stem for path in read} == set(own)


def slices(machine: Machine, command: str, typed: str = "") -> str:
    """A command of a user's, on the same machine."""
    told = "PATH=/opt/dslice/bin:$PATH DSLICE_PLC_URL=https://plc.example.org:7443"
    mark = f"DSLICE_CA_FINGERPRINT=$({AS_PLC}dslice plc ca)"
    return machine.run(f"export {told}; export {mark}; cd /root; {command}", typed)


def test_a_user_gets_a_sliver(machine: Machine) -> None:
    slices(machine, "plkeygen", f"llp@cs.princeton.edu\n{PASSWORD}\n")
    typed(machine, "dslice plc approve llp@cs.princeton.edu")
    slices(machine, "plkeygen --refresh", "llp@cs.princeton.edu\n")
    until(lambda: "192.0.2.11" in slices(machine, "svm getads"))
    file = "<slice><name>booted</name><numnodes>1</numnodes><leaselen>3600</leaselen></slice>"
    assert "Success on 192.0.2.11" in slices(machine, f"echo '{file}' >booted.xml; svm createslice booted.xml")
    assert holders(machine)


def holders(machine: Machine) -> list[str]:
    """Processes in the slivers' control group, but for the one that holds it and the node manager."""
    group = "/sys/fs/cgroup/system.slice/dslice-slivers.service"
    found = machine.run(f"find {group} -name cgroup.procs | xargs cat")
    own = [machine.run(f"systemctl show -P MainPID dslice-{unit}").strip() for unit in ("slivers", "nodemgr")]
    return sorted(set(found.split()) - set(own))


def test_what_dies_comes_back_and_slivers_outlive_it(machine: Machine) -> None:
    before = set(holders(machine))
    for unit in units():
        if unit != "dslice-slivers":
            machine.run(f"systemctl kill --kill-whom=main -s KILL {unit}")
    for unit in units():
        until(lambda unit=unit: machine.runs(unit))  # type: ignore[misc]
    assert before <= set(holders(machine))
    until(lambda: "1 of 1 running" in slices(machine, "svm slices"))
    assert "nodemgr" in machine.run("journalctl -t dslice-nodemgr -o cat")


def test_an_upgrade_restarts_the_node_manager_alone(machine: Machine) -> None:
    before = set(holders(machine))
    machine.run("systemctl restart dslice-nodemgr; /opt/dslice/bin/dslice health --wait 60 127.0.0.1:9100")
    assert before <= set(holders(machine))


def test_all_stop_in_time_and_slivers_with_their_unit(machine: Machine) -> None:
    machine.run("systemctl stop dslice-nodemgr dslice-beat dslice-flower 'dslice-worker@*' dslice-svmd dslice-agent")
    assert holders(machine)
    machine.run("systemctl stop dslice-plc dslice-slivers")
    assert holders(machine) == []
    assert machine.run("systemctl --failed --no-legend") == ""
