"""The wheel in clean environments, with what ships beside it: each extra does its job, and the client stays small."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.embedded import Postgres
from tests.acceptance.lab import Lab, first_line, until
from tests.install.conftest import done

pytestmark = pytest.mark.usefixtures("index")

SMALL_MB = 40  # of the client, without pip
CLIENT = {"click", "cryptography", "cffi", "pycparser", "defusedxml", "dslice"}


@pytest.fixture
def clean(checkout: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The programs of an environment that has the wheel with this extra, and nothing else."""

    def make(extra: str) -> Path:
        (wheel,) = (checkout / "dist").glob("*.whl")
        done(sys.executable, "-m", "venv", tmp_path / "venv")
        pip, constraint = tmp_path / "venv/bin/pip", checkout / "dist/constraints.txt"
        done(pip, "install", "-q", "--disable-pip-version-check", "--constraint", constraint, f"{wheel}{extra}")
        return tmp_path / "venv/bin"

    return make


def kept(env: dict[str, str], programs: Path) -> dict[str, str]:
    """The environment without anything of ours but settings."""
    return {**env, "PATH": f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin"}


def test_the_lock_names_versions_and_no_address(checkout: Path) -> None:
    lines = (checkout / "dist/constraints.txt").read_text().splitlines()
    assert len(lines) > 50
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+-]+( ; .+)?", line) for line in lines)
    assert "://" not in "".join(lines)


def test_the_client(clean: Callable[[str], Path], lab: Lab) -> None:
    programs = clean("")
    listed = done(programs / "pip", "list", "--format=freeze", "--disable-pip-version-check")
    there = {line.split("==")[0].split(" @")[0] for line in listed.split("\n") if line}
    assert there - {"pip", "setuptools"} <= CLIENT
    size = sum(path.stat().st_size for path in programs.parent.rglob("*") if path.is_file() and not path.is_symlink())
    pip = sum(path.stat().st_size for path in programs.parent.glob("lib/*/site-packages/pip/**/*") if path.is_file())
    assert (size - pip) >> 20 < SMALL_MB
    env = kept(lab._shell("pi@testbed.example", {}), programs)
    exports = re.findall(r"^export (DSLICE_\w+)=(\S+)$", lab.dslice("env").must().out, re.MULTILINE)
    nodes = done(programs / "svm", "getads", env={**env, **dict(exports)}).split()
    assert set(lab.real) <= set(nodes)
    for role, extra in (("nodemgr", "node"), ("svmd", "server")):
        told = subprocess.run([programs / "dslice", "run", role], env=env, capture_output=True, text=True)
        assert (told.returncode, f"pip install 'dslice[{extra}]'" in told.stderr) == (1, True)


@pytest.mark.skipif(not shutil.which("unshare"), reason="slivers need util-linux")
def test_a_node(clean: Callable[[str], Path], lab: Lab, tmp_path: Path) -> None:
    programs, address = clean("[node]"), f"{lab.real[0].rpartition('.')[0]}.77"
    token = re.findall(r"\S+$", lab.dslice("plc", "token", "node", "w77", address).must().out.strip())[-1]
    exports = dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", lab.dslice("env").must().out, re.MULTILINE))
    settings = {
        "DSLICE_NAME": "w77",
        "DSLICE_NODE_ADDRESS": address,
        "DSLICE_PLC_URL": exports["DSLICE_PLC_URL"],
        "DSLICE_STATE_DIR": str(tmp_path / "node"),
        "DSLICE_AGENTS": "dslice.planet-lab.org",
        "DSLICE_FRONTDOOR": f"{address}:2222",
        "DSLICE_ENROLL_TOKEN": token,
    }
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), **settings}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [programs / "dslice", "run", "nodemgr"], env=env, stdout=subprocess.PIPE, stderr=log, text=True
        ) as node,
    ):
        try:
            assert first_line(node).startswith("ready "), (tmp_path / "log").read_text()
            until(lambda: address in lab.svm("getads").must().lines)
            assert lab.create("wheeled", [address]).must().successes == [address]
            lab.svm("deleteslice", "wheeled").must()
        finally:
            node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0


def test_a_server(
    clean: Callable[[str], Path], postgres: Postgres, fresh_database: Callable[..., str], tmp_path: Path
) -> None:
    """plc on a database of its own, and its operator's verbs."""
    del postgres
    programs = clean("[server]")
    env = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DSLICE_DATABASE_URL": fresh_database("plc"),
        "DSLICE_STATE_DIR": str(tmp_path / "plc"),
        "DSLICE_LISTEN": "127.0.0.1:0",
        "DSLICE_PLC_URL": "https://127.0.0.1:7443",
    }
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [programs / "dslice", "run", "plc"], env=env, stdout=subprocess.PIPE, stderr=log, text=True
        ) as plc,
    ):
        try:
            assert first_line(plc).startswith("ready "), (tmp_path / "log").read_text()
            done(programs / "dslice", "plc", "add-site", "Lab", env=env)
            assert "Lab" in done(programs / "dslice", "plc", "sites", env=env)
        finally:
            plc.send_signal(signal.SIGTERM)
        assert plc.wait(60) == 0
    for role in ("agent", "svmd", "worker", "beat", "flower"):
        told = subprocess.run(
            [programs / "dslice", "run", role], env={"PATH": env["PATH"]}, capture_output=True, text=True
        )
        assert (told.returncode, "is not set" in told.stderr or "are not set" in told.stderr) == (1, True), told.stderr
