"""How `svm` starts: quickly, with one clear line for every usage error."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from svm.main import VERBS, Verbs, run, svm
from tests.unit.svm.answering import PLC, answering

HEAVY = (
    "aiohttp",
    "rich",
    "pydantic",
    "joserfc",
    "paramiko",
    "cryptography",
    "defusedxml",
    "ssl",
    "fastapi",
    "sqlalchemy",
)
UNUSED = ("traceback", "difflib", "shutil", "logging", "tempfile", "tomllib", "asyncio")
"""Of the standard library, what no verb needs that goes well; none of it is small."""
NOT_WARM = {*HEAVY, *UNUSED, "plc", "concurrent.futures", "importlib.metadata"}.difference(
    ("ssl", "cryptography", "defusedxml", "joserfc")
)
SIGNING = {"trust.documents", "trust.jws", "joserfc", "cryptography"}
CERTIFICATES = {"cryptography.x509", "trust.certificates"}
"""What takes a sixth of a command's time to load, and was needed when the user's files were new (svm/checked.py)."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty key directory."""
    directory = tmp_path / "planetlab"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("PLANETLAB_HOME", str(directory))
    return directory


def modules_after(code: str, **environment: str) -> set[str]:
    code = f"{code}\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return set(ended.stderr.splitlines())


def test_help_loads_nothing_heavy() -> None:
    found = modules_after("from svm.main import run\nassert run(['--help']) == 0")
    assert "svm.commands.create" in found
    assert not found.intersection({*HEAVY, *UNUSED} - {"shutil"})  # click asks it how wide the terminal is


def test_asking_plc_where_svmd_is_needs_no_event_loop() -> None:
    found = modules_after("import svm.client, svm.certification\nfrom plc.client import Plc")
    assert "plc.client.calls" in found
    assert not found.intersection({"asyncio", "logging", "plc.client.member", "joserfc"})


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The key directory of somebody whose svmd answers."""
    folder = tmp_path_factory.mktemp("warm")
    with answering(folder) as found:
        code = "from svm.main import run\nassert run(['slices']) == 0"
        assert "cryptography.x509" in modules_after(code, PLANETLAB_HOME=str(found), DSLICE_PLC_URL=PLC)
        yield found


@pytest.mark.parametrize(
    ("words", "besides"),
    [
        (["slices"], SIGNING | {"svm.following", "svm.slicefile", "defusedxml"}),
        (["getads"], SIGNING | {"svm.following", "svm.slicefile", "defusedxml"}),
        (["status", "demo"], SIGNING | {"svm.following", "svm.slicefile", "defusedxml"}),
        (["addkey", "demo", "alice.pub"], {"svm.slicefile", "defusedxml"}),
        (["createslice", "demo.xml"], {"trust.sshkeys"}),
    ],
)
def test_a_verb_loads_what_it_uses(words: list[str], besides: set[str], warm: Path) -> None:
    words = [str(warm.parent / word) if "." in word else word for word in words]
    code = f"from svm.main import run\nassert run({words}) == 0"
    found = modules_after(code, PLANETLAB_HOME=str(warm), DSLICE_PLC_URL=PLC)
    assert "rpc.blocking" in found
    assert not found.intersection(NOT_WARM | CERTIFICATES | besides)


def test_the_command_line_needs_no_part_of_a_server() -> None:
    verbs = "\n".join(f"import svm.commands.{module}" for module in set(VERBS.values()))
    found = modules_after(f"{verbs}\nimport svm.client, svm.following, svm.sshconfig, svm.settings")
    servers = {
        "svm.service",
        "celery",
        "sqlalchemy",
        "models.database",
        "models.svm",
        "tasks",
        "workers",
        "agent",
        "nodemgr",
        "fastapi",
        "uvicorn",
    }
    assert "svm.client" in found
    assert not found.intersection(servers | {"aiohttp", "rich", "paramiko"})


def test_completion_loads_nothing_heavy_and_asks_nobody(home: Path) -> None:
    (home / "slices" / "oceanstore").mkdir(parents=True)
    code = "import sys\nsys.argv=['svm']\nfrom svm.main import main\ntry:\n main()\nexcept SystemExit: pass"
    environment = {"_SVM_COMPLETE": "bash_complete", "COMP_WORDS": "svm nodelist oce", "COMP_CWORD": "2"}
    found = modules_after(code, PLANETLAB_HOME=str(home), **environment)
    assert "svm.commands.nodes" in found
    assert not found.intersection(HEAVY)
    code = "import sys\nsys.argv=['svm']\nfrom svm.main import main\nmain()"
    environment["PLANETLAB_HOME"] = str(home)
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.stdout == "plain,oceanstore\n"


def test_every_verb_has_a_command_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        assert run([verb, "--help"]) == 0
        assert f"Usage: svm {verb}" in capsys.readouterr().out


def test_nouns_in_singular_or_plural() -> None:
    group = svm
    assert isinstance(group, Verbs)
    for word, verb in (("addkeys", "addkey"), ("expiration", "expirations"), ("slice", "slices"), ("newvm", "newvms")):
        found = group.get_command(group.make_context("svm", [], resilient_parsing=True), word)
        assert found is not None
        assert found.name == verb


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["frobnicate"], "no verb is called 'frobnicate'; see: svm --help"),
        (["nodelst", "demo"], "'nodelst'; did you mean nodelist?"),
        (["createslice"], "Missing argument 'FILE'; see: svm createslice --help"),
        (["addkey", "demo"], "Missing argument 'KEYFILE'"),
        (["-p", "0", "slices"], "'0' is not a whole number from 1 to 1024"),
        (["-p", "-1", "slices"], "'-1' is not a whole number from 1 to 1024"),
        (["-p", "many", "slices"], "'many' is not a whole number"),
        (["-p", "1" * 9 + "00", "slices"], "is not a whole number"),
        (["-t", "0", "slices"], "'0' is not a whole number from 1 to 3600"),
        (["slices", "--frob"], "No such option"),
        (["slices", "extra"], "unexpected extra argument"),
        (["autorenew", "demo", "perhaps"], "'perhaps' is not one of"),
        (["autorenew", "demo", "off", "--until", "2030-01-01"], "--until goes with on"),
        (["createslice", "F", "--until", "2030-01-01"], "give both"),
        (["run", "demo", "--"], "no command given"),
        (["nodelist", "../x"], "is not a slice name"),
        (["deleteslice", "root"], "a login that systems reserve"),
        (["createslice", "/no/such/file.xml"], "cannot be read"),
        (["addkey", "demo", "/no/such/key.pub"], "cannot be read"),
        (["watch", "No Such"], "is not a slice name"),
        (["history", "-n", "0", "demo"], "0 is not in the range"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("svm: ")
    assert err.count("\n") == 1
    assert said in err


def test_usage_errors_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "createslice", "/no/such/file.xml"]) == 2
    error, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (error["type"], error["code"]) == ("error", "bad-input")
    assert summary == {"type": "summary", "operation": None, "ok": 0, "failed": 0, "exit": 2}


def test_without_a_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nodelist", "demo"]) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "plkeygen" in err


def test_a_surprise_is_one_line_unless_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("svm.commands.slices.connect", explode)
    assert run(["slices"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--debug" in err
    assert run(["--debug", "slices"]) == 1
    assert "deep inside" in capsys.readouterr().err


def test_no_verb_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "getads" in capsys.readouterr().err


def test_completion_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "zsh"]) == 0
    assert "_SVM_COMPLETE" in capsys.readouterr().out
