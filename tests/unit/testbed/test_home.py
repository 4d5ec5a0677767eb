"""The testbed's folder: private, found again, and in words when it cannot be used."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.home import Home, HomeError, Lock, Plan, write_private


def test_the_folder_is_its_owners_alone_and_git_passes_over_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    home.make()
    assert stat.S_IMODE(home.directory.stat().st_mode) == 0o700
    assert (home.directory / ".gitignore").read_text().splitlines()[-1] == "*"
    assert home.is_ours()


def test_an_open_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Home(tmp_path).make()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_folder_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    assert not Home(tmp_path).is_ours()
    (tmp_path / ".gitignore").write_text("*\n")
    assert not Home(tmp_path).is_ours()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"cannot use .*: Not a directory; name another folder with --home"):
        Home(tmp_path / "file" / "home").make()


def test_where_the_home_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DSLICE_HOME", raising=False)
    assert Home.find(None).directory == tmp_path / ".dslice"
    monkeypatch.setenv("DSLICE_HOME", "/elsewhere")
    assert Home.find(None).directory == Path("/elsewhere")
    assert Home.find(Path("here")).directory == tmp_path / "here"


def test_the_plan_is_kept_from_start_to_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.plan() == Plan()
    plan = Plan(nodes=3, simulated=12, network=4, ports={"plc": 21_000})
    home.keep_plan(plan)
    assert home.plan() == plan
    assert home.plan().changed(nodes=None, workers=2) == Plan(
        nodes=3, simulated=12, workers=2, network=4, ports={"plc": 21_000}
    )


@pytest.mark.parametrize("text", ["", "{", '{"unknown": 1}', "[]"])
def test_a_damaged_plan_is_said_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(HomeError, match=r"plan\.json is damaged"):
        Home(tmp_path).plan()


def test_passwords(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="no testbed in"):
        home.password("pi@testbed.example")
    home.make()
    write_private(home.secrets / "passwords.json", '{"pi@testbed.example": "word"}')
    assert home.password("pi@testbed.example") == "word"
    with pytest.raises(HomeError, match=r"no account x@y here; there are pi@testbed\.example, "):
        home.password("x@y")


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    path.chmod(0o644)
    write_private(path, "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_one_process_has_the_lock_and_it_is_named(tmp_path: Path) -> None:
    lock = Lock(Home(tmp_path))
    assert lock.holder() is None
    program = (
        "import sys; from pathlib import Path; from testbed.home import Home, Lock\n"
        "print(Lock(Home(Path(sys.argv[1]))).take(), flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        assert lock.holder() == other.pid
        assert not lock.take()
        other.communicate("")
    assert lock.holder() is None
    assert lock.take()
    lock.release()
