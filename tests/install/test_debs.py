"""The Debian packages in a root file system that is made for it: installed, started, removed.

No systemd runs there: the daemon is started by the command line of its unit.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.lab import Lab, first_line, until
from tests.install.conftest import LONGEST, ROOT, done

NEEDED = ("mmdebstrap", "dpkg-deb", "bwrap", "/usr/bin/python3")

pytestmark = [
    pytest.mark.usefixtures("index"),
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a root file system, as root"),
    *(pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}") for name in NEEDED),
]


@pytest.fixture(scope="module")
def packages(checkout: Path, index: None) -> Path:
    """The folder of both."""
    done(checkout / "deploy/debian/build")
    return checkout / "dist"


@pytest.fixture(scope="module")
def root(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian with what our packages depend on, and they installed."""
    folder = tmp_path_factory.mktemp("debian")
    suite = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)", Path("/etc/os-release").read_text(), re.MULTILINE))
    made = subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--include=python3,bubblewrap,util-linux",
            suite["VERSION_CODENAME"],
            folder,
        ],
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    if made.returncode:
        pytest.skip(f"mmdebstrap makes no root file system here: {made.stderr.strip()[-300:]}")
    (folder / "packages").mkdir()
    for package in packages.glob("*.deb"):
        shutil.copy(package, folder / "packages")
    inside(folder, "dpkg -i /packages/*.deb")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def within(root: Path) -> list[str]:
    """What runs a command there, with the host's network, as root with all rights (a chroot may make no slivers)."""
    kernels = [("--dev-bind", place, place) for place in ("/proc", "/dev", "/sys")]
    bound = (("--bind", str(root), "/"), *kernels)
    return ["bwrap", *(word for words in bound for word in words), "--cap-add", "ALL"]


def inside(root: Path, script: str, **env: str) -> str:
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", **env}
    return done(*within(root), "/bin/sh", "-c", script, env=clean)


def settings(lab: Lab) -> dict[str, str]:
    return dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", lab.dslice("env").must().out, re.MULTILINE))


def test_what_was_installed_is_where_debian_looks_for_it(root: Path) -> None:
    for path in (
        "usr/share/man/man1/svm-createslice.1.gz",
        "usr/share/bash-completion/completions/svm",
        "usr/lib/systemd/system/dslice-nodemgr.service",
        "usr/lib/tmpfiles.d/dslice.conf",
        "etc/dslice/node.toml",
    ):
        assert (root / path).is_file(), path
    assert (root / "etc/dslice/node.toml").stat().st_mode & 0o777 == 0o600
    assert inside(root, "dpkg --verify dslice-node dslice-client") == ""
    assert "svm, version" in inside(root, "svm --version")


def test_the_client_speaks_to_a_lab(root: Path, lab: Lab) -> None:
    shutil.copytree(lab.home / "users/pi@testbed.example", root / "root/planetlab")
    shutil.copy(settings(lab)["DSLICE_CA_FILE"], root / "root/ca.pem")
    env = {**settings(lab), "PLANETLAB_HOME": "/root/planetlab", "DSLICE_CA_FILE": "/root/ca.pem"}
    assert set(lab.real) <= set(inside(root, "svm getads", **env).split())


def test_the_node_starts_and_holds_a_sliver(root: Path, lab: Lab, tmp_path: Path) -> None:
    address = f"{lab.real[0].rpartition('.')[0]}.78"
    token = lab.dslice("plc", "token", "node", "d78", address).must().out.split()[-1]
    (root / "etc/dslice/node.toml").write_text(
        f'name = "d78"\nnode_address = "{address}"\nplc_url = "{settings(lab)["DSLICE_PLC_URL"]}"\n'
        f'agents = "dslice.planet-lab.org"\nfrontdoor = "{address}:2222"\nenroll_token = "{token}"\n'
        f'metrics_token = "12345678"\n'
    )
    unit = (root / "usr/lib/systemd/system/dslice-nodemgr.service").read_text()
    told = dict(word.split("=", 1) for word in re.findall(r"^Environment=(.+)$", unit, re.MULTILINE))
    told["DSLICE_METRICS_LISTEN"] = f"{address}:9100"
    (started,) = re.findall(r"^ExecStart=/usr/lib/dslice/slivers-group enter (.+)$", unit, re.MULTILINE)
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*within(root), "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", *shlex.split(started)],
            env=told,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as node,
    ):
        try:
            assert first_line(node).startswith("ready "), (tmp_path / "log").read_text()
            assert inside(root, f"dslice health --wait 20 {address}:9100") == "ready\n"
            until(lambda: address in lab.svm("getads").must().lines)
            assert lab.create("packaged", [address]).must().successes == [address]
            lab.svm("deleteslice", "packaged").must()
        finally:
            stop(node)


def stop(node: "subprocess.Popen[str]") -> None:
    """bwrap passes no signal on: the daemon is its child."""
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    for pid in children or [str(node.pid)]:
        os.kill(int(pid), signal.SIGTERM)
    node.wait(60)


def test_removed_and_purged_nothing_of_them_stays(root: Path) -> None:
    inside(root, "dpkg --remove dslice-node dslice-client")
    assert (root / "etc/dslice/node.toml").exists()
    assert not (root / "opt/dslice").exists()
    assert not (root / "opt/dslice-client").exists()
    inside(root, "dpkg --purge dslice-node dslice-client")
    there = [*root.glob("**/*dslice*"), *root.glob("etc/dslice/*"), *root.glob("var/lib/dslice/*")]
    left = [path.relative_to(root) for path in there]
    assert [str(path) for path in left if path.parts[0] not in ("packages", "root")] == []


def test_a_package_names_what_it_needs(packages: Path) -> None:
    for name in ("client", "node"):
        (package,) = packages.glob(f"dslice-{name}_*.deb")
        depends = done("dpkg-deb", "-f", package, "Depends")
        assert re.search(r"python3 \(>= 3\.\d+\), python3 \(<< 3\.\d+\)", depends)
        assert (ROOT / f"deploy/debian/dslice-{name}/control").exists()
