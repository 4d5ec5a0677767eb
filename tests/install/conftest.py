"""What `make wheel` and `make deb` make, installed where nothing of ours is, beside a running testbed.

Half a gigabyte is fetched and unpacked for all extras and packages, which takes ten minutes: too long for each `make
test`. DSLICE_INSTALL=1 asks for it (docs/developing.md). The client alone (test_client.py) needs nothing fetched.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.lab import Lab

ROOT = Path(__file__).parents[2]
LONG = tuple(Path(__file__).with_name(name) for name in ("test_debs.py", "test_systemd.py", "test_wheels.py"))
LONGEST = 600  # seconds for one step


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    asked = os.environ.get("DSLICE_INSTALL") == "1"
    for item in items:
        if item.path in LONG:
            item.add_marker(pytest.mark.timeout(2 * LONGEST))
            if not asked:
                item.add_marker(pytest.mark.skip(reason="fetches and installs for minutes: DSLICE_INSTALL=1 runs it"))


def done(*argv: object, **how: object) -> str:
    """What a command prints, once it has ended well."""
    ran = subprocess.run(
        [str(word) for word in argv],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        **how,  # type: ignore[call-overload]
    )
    assert ran.returncode == 0, f"{argv}: {ran.stdout}\n{ran.stderr}"
    return str(ran.stdout)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with their environment, where dist/ may be written."""
    folder = tmp_path_factory.mktemp("checkout") / "dslice"
    away = shutil.ignore_patterns(".*", "dist", "__pycache__", "tests", "bench")
    shutil.copytree(ROOT, folder, ignore=away)
    (folder / ".venv").symlink_to(sys.prefix)
    done(folder / "deploy/wheel")
    return folder


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where pip finds nothing to install."""
    folder = tmp_path_factory.mktemp("index")
    tried = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "click"], capture_output=True
    )
    if tried.returncode:
        pytest.skip("pip reaches no index here")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A testbed for all tests of this folder."""
    found = Lab(tmp_path_factory.mktemp("lab"))
    found.up()
    try:
        yield found
    finally:
        found.down()
