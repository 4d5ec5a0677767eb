"""What a sliver with root inside is to its owner: a machine whose packages, users, daemons and files are theirs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nodemgr.slivers.limits import hostranges
from tests.integration.slivers.conftest import ROOTED, Node, open_node, run_async
from tests.integration.slivers.test_enemy import keeper
from tests.integration.slivers.test_life import eventually
from trust.errors import Code, Refusal


@pytest.fixture(params=ROOTED)
def node(request: pytest.FixtureRequest, tmp_path: Path, podman: str | None) -> Iterator[Node]:
    """A node whose slivers have root inside, empty."""
    with open_node(request.param, tmp_path, podman) as made:
        yield made


@pytest.fixture(scope="module", params=ROOTED)
def ocean(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, podman: str | None
) -> Iterator[Node]:
    """One with a sliver `ocean`, which these tests share and do not restart."""
    with open_node(request.param, tmp_path_factory.mktemp("ocean"), podman) as made:
        made.make("ocean")
        yield made


PACKAGE = """
set -e
mkdir -p ~/pkg/DEBIAN ~/pkg/usr/bin ~/pkg/etc ~/pkg/var/lib/tide
printf 'Package: tide\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: me <me@example.org>\\nDescription: tides\\n' \\
    >~/pkg/DEBIAN/control
echo /etc/tide.conf >~/pkg/DEBIAN/conffiles; echo high >~/pkg/etc/tide.conf
printf '#!/bin/sh\\ncat /etc/tide.conf\\n' >~/pkg/usr/bin/tide; chmod 755 ~/pkg/usr/bin/tide
printf '#!/bin/sh\\nset -e\\nadduser --system --group --home /var/lib/tide tide\\nchown tide:tide /var/lib/tide\\n' \\
    >~/pkg/DEBIAN/postinst; chmod 755 ~/pkg/DEBIAN/postinst
dpkg-deb --root-owner-group --build ~/pkg ~/tide.deb
"""


def needs_dpkg() -> None:
    if not os.path.exists("/usr/bin/dpkg-deb"):
        pytest.skip("this node's packages are not dpkg's")


def test_the_login_is_an_ordinary_user_and_sudo_makes_it_root(ocean: Node) -> None:
    assert ocean.says("ocean", "id -un; id -u; id -gn; echo ~; pwd") == "ocean\n1000\nocean\n/home/ocean\n/home/ocean"
    assert ocean.says("ocean", "touch /etc/x 2>&1 || echo refused").endswith("refused")
    assert ocean.root_says(
        "ocean", "id -u; id -g; echo $HOME $USER $SUDO_USER; touch /etc/x /usr/x /x && echo done"
    ) == ("0\n0\n/root root ocean\ndone")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sudo -u nobody id -un", "nobody"),
        ("sudo -i pwd", "/root"),
        ("sudo -s echo '*'", "*"),
        ("sudo -iu ocean pwd", "/home/ocean"),
        ("WAVE=1 sudo env | grep -c WAVE || true", "0"),
        ("WAVE=1 sudo -E env | grep WAVE", "WAVE=1"),
        ("sudo WAVE=2 sh -c 'echo $WAVE'", "2"),
        ("sudo -n true; echo $?", "0"),
        ("sudo false; echo $?", "1"),
        ("sudo -u nosuch true 2>&1; echo $?", "sudo: unknown user nosuch\n1"),
        ("cd /tmp; sudo pwd", "/tmp"),
        ("sudo printf '%s\\n' 'a  b' c", "a  b\nc"),
    ],
)
def test_sudo(ocean: Node, command: str, said: str) -> None:
    if os.path.exists("/usr/bin/sudo") and "nosuch" in command:
        pytest.skip("the real one has other words")
    assert ocean.says("ocean", command) == said


def test_nobody_else_inside_becomes_root(ocean: Node) -> None:
    assert ocean.run("ocean", "sudo -u nobody sudo -n id").returncode != 0
    assert "su:" in ocean.run("ocean", "su -c id </dev/null").stderr


def test_files_of_every_user_and_group(ocean: Node) -> None:
    """Each number that a package or a person may give, 65,533 of them."""
    done = ocean.root_says(
        "ocean",
        "cd /var; for id in 0 5 42 999 1000 1001 65533 65534; do install -o $id -g $id /dev/null f$id;"
        " stat -c '%u:%g' f$id; done; install -o nobody -g tty /dev/null f; stat -c '%U:%G' f",
    )
    expected = [f"{number}:{number}" for number in (0, 5, 42, 999, 1000, 1001, 65533, 65534)]
    assert done.split() == [*expected, "nobody:tty"]


def test_a_user_is_added_and_logged_in_to(ocean: Node) -> None:
    said = ocean.root_says("ocean", "useradd -m -s /bin/bash bob && su - bob -c 'id -un; pwd; echo x > ~/own; ls ~'")
    assert said == "bob\n/home/bob\nown"
    changed = "echo bob:Secret12 | chpasswd; usermod -aG games bob; id -nG bob"
    assert ocean.root_says("ocean", changed).split() == ["bob", "games"]


def test_groups_of_the_login_are_those_of_etc_group(ocean: Node) -> None:
    ocean.root_says("ocean", "usermod -aG games ocean")
    assert set(ocean.says("ocean", "id -nG").split()) == {"ocean", "games"}


def test_a_package_is_installed_and_removed(ocean: Node) -> None:
    needs_dpkg()
    ocean.says("ocean", PACKAGE)
    ocean.root_says("ocean", "dpkg -i ~ocean/tide.deb")
    assert (
        ocean.says("ocean", "tide; dpkg -S $(which tide); stat -c %U /var/lib/tide")
        == "high\ntide: /usr/bin/tide\ntide"
    )
    ocean.root_says("ocean", "dpkg --purge tide")
    assert ocean.run("ocean", "tide").returncode == 127
    assert not Path("/usr/bin/tide").exists()
    assert "tide" not in subprocess.run(["dpkg", "-l"], capture_output=True, text=True, check=True).stdout.split()


NEWER = """
set -e
mkdir -p ~/newer/DEBIAN ~/newer/usr/bin
printf '%s\\n' 'Package: mawk' 'Version: 9:9' 'Provides: awk' 'Architecture: all' 'Maintainer: me <me@example.org>' \\
    'Description: newer' >~/newer/DEBIAN/control
printf '#!/bin/sh\\necho newer\\n' >~/newer/usr/bin/mawk; chmod 755 ~/newer/usr/bin/mawk
dpkg-deb --root-owner-group --build ~/newer ~/newer.deb
"""


def test_a_package_that_the_node_has_is_upgraded(ocean: Node) -> None:
    needs_dpkg()
    if subprocess.run(["dpkg", "-s", "mawk"], capture_output=True, check=False).returncode:
        pytest.skip("this node has no mawk")
    ocean.says("ocean", NEWER)
    ocean.root_says("ocean", "apt-get install -y ~ocean/newer.deb")
    assert ocean.says("ocean", "mawk; stat -c %U /usr/bin/mawk; dpkg-query -W mawk").split() == [
        *("newer", "root"),
        *("mawk", "9:9"),
    ]
    assert Path("/usr/bin/mawk").stat().st_size > 100


def test_apt_knows_what_is_installed(ocean: Node) -> None:
    needs_dpkg()
    said = ocean.root_says("ocean", "apt-get check && dpkg --audit && apt-get install -s dpkg")
    assert "dpkg is already the newest version" in said


def test_packages_of_the_node_find_their_folders(ocean: Node) -> None:
    """Empty, for what is in them may be secret."""
    needs_dpkg()
    listed = {line for path in Path("/var/lib/dpkg/info").glob("*.list") for line in path.read_text().splitlines()}
    folders = [each for each in sorted(listed) if each.startswith(("/etc/", "/var/")) and os.path.isdir(each)]
    folders = [each for each in folders if not os.path.islink(each) and not each.startswith("/var/lib/dpkg")]
    assert len(folders) > 20
    assert ocean.root_says("ocean", f"ls -d {' '.join(folders)} 2>&1 >/dev/null") == ""
    for name in ("/var/spool/cron/crontabs", "/var/lib/private", "/var/lib/sudo", "/var/log/nginx"):
        if name in folders:
            assert ocean.root_says("ocean", f"ls -A {name}; stat -c %a {name}") == f"{os.stat(name).st_mode & 0o7777:o}"


def test_programs_of_the_node_may_be_changed_and_the_nodes_stay(ocean: Node) -> None:
    before = Path("/usr/bin/env").read_bytes()
    spoil = "cp /bin/true /usr/bin/env; rm -rf /usr/share/doc; test ! -e /usr/share/doc"
    assert ocean.root_says("ocean", spoil) == ""
    assert Path("/usr/bin/env").read_bytes() == before
    assert os.listdir("/usr/share/doc")
    ocean.root_says("ocean", "mkdir /usr/share/doc; mv /usr/lib/locale /usr/lib/locale2 && ls /usr/lib/locale2")


def test_daemons_outlive_their_login(ocean: Node) -> None:
    ocean.root_says(
        "ocean", "setsid sh -c 'while :; do date +%N >/run/beat; sleep 0.1; done' >/dev/null 2>&1 </dev/null &"
    )
    eventually(lambda: ocean.run("ocean", "test -s /run/beat").returncode == 0)
    first = ocean.says("ocean", "cat /run/beat")
    eventually(lambda: ocean.says("ocean", "cat /run/beat") != first)


def test_a_port_is_served_as_far_as_the_nodes_network_allows(ocean: Node) -> None:
    """A sliver has the node's own network, where low ports belong to the node's root."""
    serve = "python3 -c \"import socket; s = socket.create_server(('127.0.0.9', {port})); print('bound')\""
    assert ocean.root_says("ocean", serve.format(port=0)) == "bound"
    low = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert ("bound" in ocean.root("ocean", serve.format(port=80)).stdout) == (low <= 80)


def test_terminals_belong_to_the_login_and_its_tty_group(ocean: Node) -> None:
    from nodemgr.slivers.drivers.driver import Pty

    session = ocean.driver.enter(
        "ocean", ["/bin/bash", "-c", "stat -c %U:%G:%a $(tty); sudo tty"], pty=Pty("xterm", 80, 24)
    )
    said = b""
    while True:
        try:
            said += os.read(session.stdout, 1024)
        except OSError:
            break
    assert said.split() == [b"ocean:tty:620", b"/dev/pts/0"]
    assert session.wait() == 0
    os.close(session.stdout)
    os.close(session.ended)


CHANGE = "echo kept >/etc/kept; echo kept >/usr/bin/kept; echo kept >/var/kept; useradd -m carol; rm -r /usr/share/man"
LOOK = "cat /etc/kept /usr/bin/kept /var/kept ~/kept; id -u carol; ls -d /usr/share/man /home/carol 2>/dev/null"


def test_changes_are_kept_through_all_but_its_end(node: Node) -> None:
    spec = node.make("ocean")
    node.root_says("ocean", CHANGE)
    node.says("ocean", "echo kept >~/kept")
    kept = "kept\nkept\nkept\nkept\n1001\n/home/carol"

    def look() -> str:
        return node.run("ocean", LOOK).stdout.rstrip("\n")

    assert look() == kept
    node.driver = node.open()  # another node manager
    assert look() == kept
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.start("ocean"))
    assert look() == kept
    os.kill(keeper(node, "ocean").pid, signal.SIGKILL)
    eventually(lambda: run_async(node.driver.ended(["ocean"])) == ["ocean"])
    run_async(node.driver.create(spec))
    assert look() == kept
    run_async(node.driver.delete("ocean"))
    node.make("ocean")
    assert look() == "/usr/share/man"


def test_reset_gives_a_fresh_root_and_keeps_home_and_key(node: Node) -> None:
    spec = node.make("ocean")
    node.root_says("ocean", CHANGE)
    node.says("ocean", "echo kept >~/kept; echo x >/tmp/x")
    run_async(node.driver.reset("ocean"))
    look = "cat ~/kept; ls /etc/kept /usr/bin/kept /tmp/x 2>/dev/null; ls -d /usr/share/man; stat -c %U ~; sudo id -u"
    assert node.says("ocean", look) == "kept\n/usr/share/man\nocean\n0"
    assert node.says("ocean", "ssh-keygen -y -f /etc/slice/ssh_key").split()[1] == spec.public_key.split()[1]
    assert [path.name for path in node.folder.glob(".removed*")] == []
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.reset("ocean"))
    with pytest.raises(Refusal) as refused:
        node.run("ocean", "true")
    assert refused.value.code is Code.NOT_FOUND  # it did not run
    with pytest.raises(Refusal):
        run_async(node.driver.reset("lake"))


BROKEN = [
    "echo broken >/etc/passwd",
    "rm /etc/passwd /etc/group /etc/shadow",
    "rm -rf /etc/*",
    "chmod 0 /etc",
    "rm -r /home/*",
]


@pytest.mark.parametrize("harm", BROKEN)
def test_what_root_breaks_in_etc_keeps_nobody_out(node: Node, harm: str) -> None:
    node.make("ocean")
    node.root("ocean", harm)
    assert node.says("ocean", "id -u") == "1000"
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "id -u") == "1000"


@pytest.mark.parametrize(
    "harm", ["mv /usr/bin /usr/gone", "rm -rf /etc /var /bin /lib*", "mv /etc /old; ln -s / /etc", "rm /bin/sh"]
)
def test_what_root_breaks_for_good_is_mended_by_reset(node: Node, harm: str) -> None:
    node.make("ocean")
    node.says("ocean", "echo kept >~/kept")
    node.root("ocean", harm)
    run_async(node.driver.stop("ocean"))
    with suppress(Refusal):
        run_async(node.driver.start("ocean"))
    run_async(node.driver.reset("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "cat ~/kept; sudo id -u") == "kept\n0"


def test_what_only_a_reset_mends_says_so(node: Node) -> None:
    node.make("ocean")
    if node.root("ocean", "mv /etc /old && ln -s / /etc").returncode:
        pytest.skip("here a folder of the base cannot be moved: the kernel allows that to root only")
    run_async(node.driver.stop("ocean"))
    with pytest.raises(Refusal, match="no folder /etc/slice any more; svm reset ocean ocean-n_1 gives it a fresh one"):
        run_async(node.driver.start("ocean"))
    run_async(node.driver.reset("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "sudo -n id -u") == "0"


def test_what_has_lost_its_files_is_given_back_and_made_anew(node: Node) -> None:
    spec = node.make("ocean")
    run_async(node.driver.stop("ocean"))
    shutil.rmtree(node.folder / "ocean/home")
    with pytest.raises(Refusal, match="; svm shrink ocean NODE gives it back, and svm createslice makes"):
        run_async(node.driver.start("ocean"))
    run_async(node.driver.delete("ocean"))
    run_async(node.driver.create(spec))
    assert node.says("ocean", "whoami") == "ocean"


def test_who_has_lost_sudo_is_told_what_gives_it_back(node: Node) -> None:
    if os.path.exists("/usr/bin/sudo"):
        pytest.skip("the real one has other words")
    node.make("ocean")
    node.root("ocean", "rm /usr/local/lib/slice/root")
    assert "svm reset SLICE NODE gives it back" in node.run("ocean", "sudo true").stderr
    run_async(node.driver.reset("ocean"))
    assert node.says("ocean", "sudo id -u") == "0"


def test_its_end_leaves_nothing(node: Node) -> None:
    """No file, mount, process, group or host user."""
    node.make("ocean")
    first = keeper(node, "ocean")
    host_uid = node.driver._existing("ocean")[1].host_uid  # type: ignore[attr-defined]
    node.root_says(
        "ocean",
        "useradd -m dave; su dave -c 'mkdir -p ~/a/b; chmod 0 ~/a/b ~/a'; mkdir -m 0 /srv/shut; mkfifo /etc/fifo;"
        " cp /bin/true /usr/bin/mine; chmod 4755 /usr/bin/mine; mv /usr/lib/locale /usr/lib/other;"
        " setsid sleep 511 >/dev/null 2>&1 </dev/null &",
    )
    mounted = Path("/proc/self/mountinfo").read_text()
    own = [str(node.folder)]
    own += [node.driver._id("ocean")] if node.driver.name == "podman" else []  # type: ignore[attr-defined]
    run_async(node.driver.delete("ocean"))
    assert not first.alive
    assert [path.name for path in node.folder.iterdir()] == [".ssh"]
    assert str(node.folder) not in mounted
    assert not any(each in Path("/proc/self/mountinfo").read_text() for each in own)
    assert subprocess.run(["pgrep", "-f", "^sleep 511"]).returncode == 1
    if not node.shares_host_users:
        eventually(lambda: owned_by(host_uid) == [])  # unshare(1) ends a moment after its child
    assert not node.driver._given  # type: ignore[attr-defined]


def owned_by(first: int) -> list[int]:
    """Processes of a sliver's users, seen from outside."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            owner = path.stat().st_uid
        except FileNotFoundError:
            continue
        if first <= owner < first + hostranges.IDS:
            found.append(int(path.name))
    return found
