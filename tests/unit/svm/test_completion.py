"""What a shell is offered after Tab, without anybody being asked."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = "# Slice demo\n\nHost 192.0.2.1 demo.n1\n    Port 22\n\nHost 192.0.2.2 demo.n2\n    Port 22\n"
PROGRAMS = {"svm": "svm.main", "plkeygen": "svm.plkeygen", "pluserinfo": "svm.pluserinfo", "dslice": "admin.main"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("demo", "other"):
        (tmp_path / "slices" / name).mkdir(parents=True)
    (tmp_path / "slices/demo/ssh_config").write_text(CONFIG)
    return tmp_path


def run(program: str, home: Path, *words: str, **env: str) -> str:
    code = f"import sys; sys.argv[0] = {program!r}; from {PROGRAMS[program]} import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={"PATH": "/usr/bin:/bin", "PLANETLAB_HOME": str(home), **env},
        capture_output=True,
        text=True,
    )
    return told.stdout


def offered(home: Path, *typed: str) -> set[str]:
    """What bash is told for the last of these words."""
    asked = {f"_{typed[0].upper()}_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(typed)}
    found = run(typed[0], home, **asked, COMP_CWORD=str(len(typed) - 1))
    return {line.partition(",")[2] for line in found.splitlines() if line}


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (("svm", "ssh", ""), {"demo", "other"}),
        (("svm", "ssh", "demo", ""), {"192.0.2.1", "192.0.2.2"}),
        (("svm", "newvms", "demo", "192.0.2.1", ""), {"192.0.2.2"}),
        (("svm", "newleases", "other", ""), set()),
        (("svm", "status", "d"), {"demo"}),
        (("svm", "createsl"), {"createslice"}),
        (("plkeygen", "--ref"), {"--refresh"}),
        (("pluserinfo", "--k"), {"--key"}),
        (("dslice", "hea"), {"health"}),
    ],
)
def test_offered(home: Path, typed: tuple[str, ...], wanted: set[str]) -> None:
    assert offered(home, *typed) == wanted


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(("program", "named"), [("svm", ("svm", "plkeygen", "pluserinfo")), ("dslice", ("dslice",))])
def test_bash_takes_the_script(home: Path, program: str, named: tuple[str, ...]) -> None:
    script = run(program, home, "completion", "bash")
    told = subprocess.run(["bash", "-c", f"{script}\ncomplete -p"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert all(f" {name}\n" in told.stdout for name in named)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(home: Path, shell: str) -> None:
    assert "_PLUSERINFO_COMPLETE" in run("svm", home, "completion", shell)
