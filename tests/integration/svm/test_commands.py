"""What users type and see, from the command line through a real svmd to the database."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from models.database import engine
from models.record import Failed
from models.states import Kind
from svm.main import run
from testbed.embedded import Postgres
from tests.integration.svm.conftest import Lab, Running, failing, running, succeed
from trust.errors import Code
from trust.identity import Identity
from trust.sshkeys import new_ssh_key_pair

DOWN = Failed(Code.UNREACHABLE, "no answer within 10 s; try again when it is back")
FULL = Failed(Code.OVER_CAPACITY, "no slot is free")

Svm = Callable[..., int]


# One svmd for all tests of this file: what they made is taken out after each.
@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def database(postgres: Postgres, template: str) -> Iterator[Engine]:
    postgres.create_database("svm_commands", template=template)
    found = engine(postgres.url("svm", "svm_commands"))
    yield found
    found.dispose()
    postgres.drop_database("svm_commands")


@pytest.fixture(scope="module")
def shared(lab: Lab, database: Engine) -> Iterator[Running]:
    with running(lab, database) as found:
        yield found


@pytest.fixture
def svmd(shared: Running) -> Running:
    shared.worker.results, shared.worker.idle, shared.worker.published = succeed, False, []
    return shared


@pytest.fixture(autouse=True)
def emptied(database: Engine) -> Iterator[None]:
    yield
    with database.begin() as connection:
        connection.execute(text("DELETE FROM svm.operation"))
        connection.execute(text("DELETE FROM svm.slice"))


@pytest.fixture
def home(svmd: Running, lab: Lab) -> Path:
    return svmd.home(lab.user())


@pytest.fixture
def svm(home: Path, monkeypatch: pytest.MonkeyPatch) -> Svm:
    """`svm` as the PI."""
    monkeypatch.setenv("PLANETLAB_HOME", str(home))
    return lambda *words: run([str(word) for word in words])


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return slice_file(tmp_path / "demo.xml", 3)


def slice_file(path: Path, numnodes: int, ips: str = "") -> Path:
    listed = f"<ips>{ips}</ips>" if ips else ""
    path.write_text(
        f"<slice><name>demo</name><numnodes>{numnodes}</numnodes><leaselen>86400</leaselen>{listed}</slice>"
    )
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "my key.pub"
    path.write_text(new_ssh_key_pair("me@home")[1] + "\n")
    return path


def expire(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE svm.sliver SET expires_at = now() - interval '1 second'"))


class TestTheHowto:
    def test_from_createslice_to_deleteslice(
        self, svm: Svm, demo: Path, key: Path, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        successes = "Success on 127.0.1.1\nSuccess on 127.0.1.2\nSuccess on 127.0.1.3\n"
        nodes = "127.0.1.1\n127.0.1.2\n127.0.1.3\n"
        assert svm("createslice", demo) == 0
        assert capsys.readouterr().out == successes
        assert (home / "slices" / "demo" / "ssh_config").is_file()
        for words in (("addkey", "demo", key), ("renewslice", "demo"), ("delkey", "demo", key), ("nukekeys", "demo")):
            assert svm(*words) == 0
            assert capsys.readouterr() == (successes, "3 ok\n")
        assert svm("nodelist", "demo") == 0
        assert capsys.readouterr().out == nodes
        assert svm("expirations", "demo") == 0
        for line, node in zip(capsys.readouterr().out.splitlines(), nodes.split(), strict=True):
            start, end = "Sliver for slice demo expires ", f" UTC on {node}"
            assert line.startswith(start)
            assert line.endswith(end)
            datetime.strptime(line.removeprefix(start).removesuffix(end), "%Y-%m-%d %H:%M:%S").astimezone()
        assert svm("deleteslice", "demo") == 0
        assert capsys.readouterr().out == successes
        assert not (home / "slices" / "demo").exists()
        assert svm("nodelist", "demo") == 1

    def test_step_by_step(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for words in (("newtickets", demo), ("newleases", "demo"), ("newvms", "demo")):
            assert svm(*words) == 0
            assert sorted(capsys.readouterr().out.splitlines()) == [f"Success on 127.0.1.{n}" for n in (1, 2, 3)]

    def test_preferred_ips_and_flags(
        self, svm: Svm, tmp_path: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = slice_file(tmp_path / "s.xml", 2, "127.0.1.7 127.0.1.5 127.0.1.6")
        assert svm("-p", 1, "-t", 15, "createslice", path) == 0
        assert capsys.readouterr().out == "Success on 127.0.1.7\nSuccess on 127.0.1.5\n"
        with svmd.service.engine.connect() as connection:
            row = connection.execute(text("SELECT parallelism, connect_timeout FROM svm.operation")).one()
        assert tuple(row) == (1, 15)

    def test_flags_after_the_verb(self, svm: Svm, demo: Path, svmd: Running) -> None:
        assert svm("createslice", demo, "-p", 7, "--json") == 0
        with svmd.service.engine.connect() as connection:
            assert connection.scalar(text("SELECT parallelism FROM svm.operation")) == 7

    def test_clean(
        self, svm: Svm, demo: Path, database: Engine, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svm("createslice", demo)
        assert svm("clean", "--dry-run") == 0
        expire(database)
        capsys.readouterr()
        assert svm("clean", "--dry-run") == 0
        assert capsys.readouterr().out == "demo\n"
        assert svm("clean") == 0
        assert "purged demo" in capsys.readouterr().err
        assert not (home / "slices" / "demo").exists()
        assert svm("slices") == 0
        assert "no slices" in capsys.readouterr().out


class TestPartialFailures:
    def test_lines_summary_status_and_retry(
        self, svm: Svm, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.results = failing(Kind.NEWLEASES, {"127.0.1.2": DOWN, "127.0.1.3": FULL})
        assert svm("createslice", demo) == 3
        out, err = capsys.readouterr()
        assert sorted(out.splitlines()) == [
            "Error on 127.0.1.2: no answer within 10 s; try again when it is back",
            "Error on 127.0.1.3: no slot is free",
            "Success on 127.0.1.1",
        ]
        assert "1 ok · 2 failed: 1 unreachable, 1 over capacity\n" in err
        svmd.worker.results = succeed
        retries = [line.split() for line in err.splitlines() if line.startswith("  svm new")]
        assert retries == [["svm", verb, "demo", "127.0.1.2", "127.0.1.3"] for verb in ("newleases", "newvms")]
        for words in retries:
            assert svm(*words[1:]) == 0
        capsys.readouterr()
        svm("nodelist", "demo")
        assert len(capsys.readouterr().out.splitlines()) == 3

    def test_createslice_goes_on_where_it_stopped(
        self, svm: Svm, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.results = failing(Kind.NEWVMS, {"127.0.1.2": DOWN})
        assert svm("createslice", demo) == 3
        svmd.worker.results = succeed
        capsys.readouterr()
        assert svm("createslice", demo) == 0
        assert capsys.readouterr().out == "Success on 127.0.1.2\n"

    def test_the_howtos_paths(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        svm("newtickets", demo)
        capsys.readouterr()
        assert svm("newleases", "demo", "/home/b/.planetlab/slices/demo/tickets/127.0.1.2") == 0
        assert capsys.readouterr().out == "Success on 127.0.1.2\n"
        assert svm("newleases", "demo", "/home/b/.planetlab/slices/demo/tickets/*") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2

    def test_all_fail(self, svm: Svm, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]) -> None:
        svm("createslice", demo)
        svmd.worker.results = failing(Kind.RENEW, dict.fromkeys(["127.0.1.1", "127.0.1.2", "127.0.1.3"], DOWN))
        capsys.readouterr()
        assert svm("-p", 4, "renewslice", "demo") == 1
        assert "Try again with: svm -p 4 renewslice demo" in capsys.readouterr().err

    def test_no_tickets_is_a_refusal_of_the_whole(
        self, svm: Svm, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few = Failed(Code.TOO_FEW_NODES, "3 nodes asked for, 2 available and nothing taken; ask for fewer")
        svmd.worker.results = lambda step: few if step.kind is Kind.NEWTICKETS else succeed(step)
        assert svm("createslice", demo) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err == "svm: 3 nodes asked for, 2 available and nothing taken; ask for fewer\n"

    def test_json(self, svm: Svm, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]) -> None:
        svmd.worker.results = failing(Kind.NEWVMS, {"127.0.1.2": DOWN})
        assert svm("--json", "createslice", demo) == 3
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        nodes = {each["node"]: each for each in found if each["type"] == "node"}
        assert nodes["127.0.1.1"]["ok"] is True
        assert nodes["127.0.1.2"]["code"] == "unreachable"
        assert {key: found[-1][key] for key in ("type", "ok", "failed", "exit")} == {
            "type": "summary",
            "ok": 2,
            "failed": 1,
            "exit": 3,
        }


class TestRefusals:
    def test_a_second_createslice_says_what_to_do(
        self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svm("createslice", demo)
        capsys.readouterr()
        assert svm("createslice", demo) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "deleteslice" in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize(
        "words",
        [
            "nodelist none",
            "expirations none",
            "status none",
            "history none",
            "watch none",
            "cancel none",
            "renewslice none",
            "deleteslice none",
            "nukekeys none",
            "newleases none",
            "newvms none",
            "autorenew none on",
            "autorenew none off",
            "autorenew none status",
            "delegate none",
            "undelegate none",
            "heal none on",
            "ssh-config none",
            "inventory none",
            "ssh none 127.0.1.1",
            "run none -- hostname",
        ],
    )
    def test_a_slice_that_is_not_there(self, svm: Svm, words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert svm(*words.split()) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("svm: no slice none")
        assert err.count("\n") == 1

    @pytest.mark.parametrize("words", ["nodelist demo", "renewslice demo", "deleteslice demo", "ssh demo 127.0.1.1"])
    def test_another_users_slice(
        self, svm: Svm, demo: Path, svmd: Running, lab: Lab, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        svm("createslice", demo)
        monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user("other@b.example"))))
        assert svm(*words.split()) == 4

    def test_no_pi(self, svm: Svm, demo: Path, svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user("user@a.example", pi=False))))
        assert svm("createslice", demo) == 4

    def test_a_node_that_is_not_in_the_slice(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        svm("createslice", demo)
        for words in ("newleases demo 10.9.8.7", "newvms demo 10.9.8.7", "ssh demo 10.9.8.7"):
            capsys.readouterr()
            assert svm(*words.split()) == 1
            assert "10.9.8.7" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "private"),
            ("ssh-ed25519 AAAA\nssh-ed25519 AAAA\n", "line"),
            ('command="id" ssh-ed25519 AAAA\n', "option"),
            ("", "empty"),
            ("hello world\n", ""),
        ],
    )
    def test_key_files(
        self, svm: Svm, tmp_path: Path, content: str, why: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "bad.pub"
        path.write_text(content)
        for verb in ("addkey", "delkey"):
            assert svm(verb, "demo", path) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1
            assert why in err

    def test_a_busy_slice(
        self, svm: Svm, home: Path, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        try:
            assert svm("renewslice", "demo") == 1
            assert "svm watch" in capsys.readouterr().err
        finally:
            child.kill()
            child.communicate()

    def test_svmd_is_away(self, svm: Svm, home: Path, capsys: pytest.CaptureFixture[str], svmd: Running) -> None:
        place = json.loads((home / "directory.json").read_text())
        (home / "directory.json").write_text(json.dumps({**place, "svmd": "https://127.0.0.1:9"}))
        assert svm("nodelist", "demo") == 5
        assert capsys.readouterr().err.count("\n") == 1


def svm_process(home: str, *words: str) -> "subprocess.Popen[str]":
    """`svm` in a process of its own."""
    argv = [sys.executable, "-c", "from svm.main import main; main()", *words]
    environment = {**os.environ, "PLANETLAB_HOME": home}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def following(svmd: Running, home: Path, *words: object) -> "subprocess.Popen[str]":
    """`svm` in a process of its own that asked for an operation and follows it now."""
    before = set(svmd.service.watchers.watched)
    child = svm_process(str(home), *map(str, words))
    while child.poll() is None and not svmd.service.watchers.watched - before:
        time.sleep(0.01)
    return child


class TestFollowing:
    def test_ctrl_c_and_watch(
        self, svm: Svm, home: Path, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
        assert child.returncode == 130
        advice = "the operation goes on; follow it with: svm watch "
        assert err.strip().startswith(advice)
        operation = err.strip().removeprefix(advice)
        svmd.worker.resume()
        for what in (operation, "demo"):
            assert svm("watch", what) == 0
            out, err = capsys.readouterr()
            assert len(out.splitlines()) == 3
            assert "createslice demo ended" in err

    def test_watch_exits_as_the_operation_did(self, svm: Svm, demo: Path, svmd: Running) -> None:
        svmd.worker.results = failing(Kind.NEWVMS, {"127.0.1.2": DOWN})
        assert svm("createslice", demo) == 3
        assert svm("watch", "demo") == 3

    def test_events_come_while_they_happen(self, home: Path, demo: Path, svmd: Running) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        svmd.worker.resume()
        out, _ = child.communicate()
        assert (child.returncode, len(out.splitlines())) == (0, 3)

    def test_a_stream_is_taken_up_again_after_svmd_was_away(self, lab: Lab, database: Engine, demo: Path) -> None:
        with running(lab, database) as first:
            first.worker.idle = True
            home = first.home(lab.user())
            child = following(first, home, "createslice", demo)
            waiting = first.worker.published
        with running(lab, database, port=first.port) as second:
            second.worker.publish(waiting)
            out, err = child.communicate()
        assert (child.returncode, len(out.splitlines())) == (0, 3), err

    def test_cancel(self, svm: Svm, home: Path, demo: Path, svmd: Running, capsys: pytest.CaptureFixture[str]) -> None:
        svmd.worker.idle = True
        child = following(svmd, home, "createslice", demo)
        assert svm("cancel", "demo") == 0
        assert child.communicate()[1].endswith("svm: cancelled; what had begun was finished\n")
        assert child.returncode == 1
        capsys.readouterr()
        assert svm("cancel", "demo") == 1
        assert "nothing goes on with demo" in capsys.readouterr().err


class TestBeyondTheHowto:
    def test_slices_status_history(
        self, svm: Svm, demo: Path, key: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svmd.worker.results = failing(Kind.NEWLEASES, {"127.0.1.2": DOWN})
        svm("createslice", demo)
        svm("addkey", "demo", key)
        capsys.readouterr()
        assert svm("slices") == 0
        assert "2 of 3" in capsys.readouterr().out
        assert svm("status", "demo") == 0
        out = capsys.readouterr().out
        assert "demo: open, 2 of 3 running" in out
        assert "me@home" in out
        line = next(line for line in out.splitlines() if line.startswith("127.0.1.2"))
        assert "ticketed" in line
        assert "no answer within 10 s" in line
        assert svm("history", "demo") == 0
        out = capsys.readouterr().out
        assert "createslice asked for" in out
        assert "newleases failed: no answer" in out

    def test_the_history_of_a_slice_that_is_gone(
        self, svm: Svm, demo: Path, database: Engine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svm("createslice", demo)
        expire(database)
        svm("clean")
        capsys.readouterr()
        assert svm("history", "demo") == 0
        assert "createslice" in capsys.readouterr().out

    def test_expirations_as_a_table(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        svm("createslice", demo)
        capsys.readouterr()
        assert svm("expirations", "--table", "demo") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["NODE", "EXPIRES", "LEFT"]
        assert "23 h 59 min" in lines[1]

    def test_lists_in_json(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        svm("createslice", demo)
        for words in ("slices", "nodelist demo", "expirations demo", "history demo", "autorenew demo status"):
            capsys.readouterr()
            assert svm("--json", *words.split()) == 0
            found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert found
            assert {each["type"] for each in found} == {"row"}

    def test_autorenew_delegate_undelegate(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        svm("createslice", demo)
        assert svm("autorenew", "demo", "on", "--until", "2099-12-24") == 0
        assert svm("heal", "demo", "on") == 0
        assert svm("delegate", "demo") == 0
        capsys.readouterr()
        assert svm("autorenew", "demo", "status") == 0
        out = capsys.readouterr().out
        assert "autorenew on until 2099-12-24 23:59:59 UTC" in out
        assert "standing delegation until" in out
        assert svm("status", "demo") == 0
        assert "heal on" in capsys.readouterr().out
        assert svm("autorenew", "demo", "off") == 0
        assert svm("undelegate", "demo") == 0
        capsys.readouterr()
        assert svm("autorenew", "demo", "status") == 0
        assert capsys.readouterr().out == "autorenew off\nno standing delegation\n"

    def test_createslice_with_autorenew(self, svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert svm("createslice", "--autorenew", demo) == 0
        capsys.readouterr()
        svm("autorenew", "demo", "status")
        assert capsys.readouterr().out.startswith("autorenew on\n")

    def test_a_later_autorenew_keeps_what_heal_needs(self, svm: Svm, demo: Path, database: Engine) -> None:
        svm("createslice", demo)
        assert svm("heal", "demo", "on") == 0
        assert svm("autorenew", "demo", "on") == 0
        assert svm("delegate", "demo") == 0
        with database.connect() as connection:
            assert connection.scalar(text("SELECT standing_heals FROM svm.slice")) is True

    def test_warnings_of_a_delegation_that_ends_soon(
        self,
        svmd: Running,
        lab: Lab,
        svm: Svm,
        demo: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        soon = lab.credentials(Identity.user("pi@a.example"), pi=True, lifetime=2 * 86_400)
        monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(soon)))
        svm("createslice", "--autorenew", demo)
        capsys.readouterr()
        svm("status", "demo")
        assert "extend it with: svm delegate demo" in capsys.readouterr().err

    def test_inventory_and_ssh_config(
        self, svm: Svm, demo: Path, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svm("createslice", demo)
        capsys.readouterr()
        assert svm("inventory", "demo") == 0
        hosts = json.loads(capsys.readouterr().out)["demo"]["hosts"]
        assert hosts["127.0.1.1"]["ansible_port"] == 2222
        assert svm("ssh-config", "demo") == 0
        out = capsys.readouterr().out
        assert "Host 127.0.1.2 demo.n2" in out
        assert out == (home / "slices" / "demo" / "ssh_config").read_text()

    def test_addkey_from_stdin_and_from_a_process(self, svm: Svm, home: Path, demo: Path, key: Path) -> None:
        svm("createslice", demo)
        svm_words = f"{sys.executable} -c 'from svm.main import main; main()'"
        script = f"{svm_words} addkey demo - < '{key}' && {svm_words} addkey demo <(cat '{key}')"
        ended = subprocess.run(
            ["bash", "-c", script], env={**os.environ, "PLANETLAB_HOME": str(home)}, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("Success on") == 6

    def test_config_show(self, svm: Svm, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert svm("config", "show") == 0
        out = capsys.readouterr().out
        assert f"{home}  ($PLANETLAB_HOME)" in out
        assert "https://127.0.0.1:1  (config.toml)" in out
        assert "pi@a.example" in out

    def test_a_reader_that_goes_away(self, svm: Svm, home: Path, demo: Path) -> None:
        svm("createslice", demo)
        child = svm_process(str(home), "history", "demo")
        assert child.stdout is not None
        child.stdout.close()
        assert child.wait() in (0, 1)
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()
        child.stderr.close()
