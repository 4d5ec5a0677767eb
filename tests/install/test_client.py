"""The wheel's client in an environment that has nothing but what it names: without an index, in seconds.

What it depends on is copied from the environment of the tests, by its own word, so that a module which the client
imports and does not name is missed. With pip and an index, and for the other extras: test_wheels.py.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.acceptance.lab import PI, Lab
from tests.install.conftest import done

CLIENT = {"click", "cryptography", "cffi", "pycparser", "defusedxml"}


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("lab"))
    found.up(real=0, simulated=2)
    try:
        yield found
    finally:
        found.down()


@pytest.fixture(scope="module")
def programs(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the client's programs."""
    venv = tmp_path_factory.mktemp("client") / "venv"
    done(sys.executable, "-m", "venv", "--without-pip", venv)
    (wheel,) = (checkout / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", f"--python={venv / 'bin/python'}"]
    done(*pip, "install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check", wheel)
    (packages,) = venv.glob("lib/python*/site-packages")
    (info,) = packages.glob("dslice-*.dist-info")
    for found in needed(Distribution.at(info)).values():
        copy(found, packages)
    return venv / "bin"


def needed(of: Distribution) -> dict[str, Distribution]:
    """What it names for this machine and no extra, and what that names."""
    named = [Requirement(line) for line in of.requires or ()]
    own = [each.name for each in named if each.marker is None or each.marker.evaluate({"extra": ""})]
    found = {name: distribution(name) for name in own}
    for each in list(found.values()):
        found |= needed(each)
    return found


def copy(found: Distribution, to: Path) -> None:
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = to / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


def test_it_names_what_it_needs_and_no_more(programs: Path) -> None:
    info = next(programs.parent.glob("lib/*/site-packages/dslice-*.dist-info"))
    assert set(needed(Distribution.at(info))) == CLIENT


def test_it_makes_and_deletes_a_slice(programs: Path, small_lab: Lab) -> None:
    exports = dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", small_lab.dslice("env").must().out, re.MULTILINE))
    env = {**exports, "PATH": f"{programs}:/usr/bin:/bin", "PLANETLAB_HOME": str(small_lab.home / "users" / PI)}
    assert set(small_lab.simulated) <= set(done("svm", "getads", env=env).split())
    file = small_lab.folder / small_lab.slice_file("wheeled", 2)
    assert done("svm", "createslice", file, env=env).count("Success on") == 2
    assert "2 of 2 running" in done("svm", "slices", env=env)
    assert "Princeton" in done("pluserinfo", PI, env=env)
    assert done("svm", "deleteslice", "--yes", "wheeled", env=env).count("Success on") == 2


@pytest.mark.parametrize(("role", "extra"), [("nodemgr", "node"), ("svmd", "server"), ("worker", "server")])
def test_what_it_lacks_is_named_by_its_extra(programs: Path, role: str, extra: str) -> None:
    told = subprocess.run([programs / "dslice", "run", role], env={"PATH": "/usr/bin"}, capture_output=True, text=True)
    assert told.returncode == 1
    assert f"pip install 'dslice[{extra}]'" in told.stderr
    assert "Traceback" not in told.stderr
