"""How `svm web` and `dslice web` start where something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["jinja2", "starlette", "uvicorn"])
def test_a_package_that_is_missing_is_named_with_its_extra(module: str, tmp_path: Path) -> None:
    code = f"import sys\nsys.modules[{module!r}] = None\nfrom svm.main import run\nsys.exit(run(['web']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == f"svm: {module} is not installed here: pip install 'dslice[web]'\n"


@pytest.mark.parametrize("module", ["jinja2", "starlette"])
def test_the_operator_is_told_of_both_extras(module: str) -> None:
    code = f"import sys\nsys.modules[{module!r}] = None\nfrom admin.main import main\nmain(['web'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == f"Error: {module} is not installed here: pip install 'dslice[server,web]'\n"


def test_without_a_certificate(tmp_path: Path) -> None:
    home = tmp_path / "planetlab"
    home.mkdir(mode=0o700)
    ended = subprocess.run(
        [sys.executable, "-m", "svm.main", "web"], env={"PLANETLAB_HOME": str(home)}, capture_output=True, text=True
    )
    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1
    assert "plkeygen" in ended.stderr
