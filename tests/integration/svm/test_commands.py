"""Beyond the howto: what users of such systems keep asking for."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from lifecycle.outcome import Failed
from models.states import Kind
from tests.integration.svm.conftest import (
    Running,
    Svm,
    expire,
    failing,
    svm_process,
)
from trust.clock import SystemClock
from trust.errors import Code

DOWN = Failed(Code.UNREACHABLE, "no answer within 10 s; try again when it is back")
FULL = Failed(Code.OVER_CAPACITY, "no slot is free")


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
        soon = (SystemClock().now() + timedelta(days=9)).date()
        assert svm("autorenew", "demo", "on", "--until", soon) == 0
        assert f"autorenew on until {soon} 23:59:59 UTC\n" in capsys.readouterr().err
        assert svm("heal", "demo", "on") == 0
        assert svm("delegate", "demo") == 0
        capsys.readouterr()
        assert svm("autorenew", "demo", "status") == 0
        out = capsys.readouterr().out
        assert f"autorenew on until {soon} 23:59:59 UTC" in out
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
        first, second = capsys.readouterr().out.splitlines()
        assert first.removeprefix("autorenew on until ") == second.removeprefix("standing delegation until ")

    def test_a_later_autorenew_keeps_what_heal_needs(self, svm: Svm, demo: Path, database: Engine) -> None:
        svm("createslice", demo)
        assert svm("heal", "demo", "on") == 0
        assert svm("autorenew", "demo", "on") == 0
        assert svm("delegate", "demo") == 0
        with database.connect() as connection:
            assert connection.scalar(text("SELECT standing_heals FROM svm.slice")) is True

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
        child = svm_process(home, "history", "demo")
        assert child.stdout is not None
        child.stdout.close()
        assert child.wait() in (0, 1)
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()
        child.stderr.close()
