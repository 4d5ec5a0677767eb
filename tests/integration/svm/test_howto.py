"""The howto's commands, from the command line through a real svmd to the database: lines, failures, retries."""

import json
from datetime import datetime
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
    slice_file,
    succeed,
)
from trust.errors import Code

DOWN = Failed(Code.UNREACHABLE, "no answer within 10 s; try again when it is back")
FULL = Failed(Code.OVER_CAPACITY, "no slot is free")


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
            out, err = capsys.readouterr()
            assert sorted(out.splitlines()) == [f"Success on 127.0.1.{n}" for n in (1, 2, 3)]
            assert ("next: svm " in err) is (words[0] != "newvms")

    def test_preferred_ips_and_flags(
        self, svm: Svm, tmp_path: Path, svmd: Running, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = slice_file(tmp_path / "s.xml", 2, "127.0.1.7 127.0.1.5 127.0.1.6")
        assert svm("-p", 1, "-t", 15, "createslice", path) == 0
        assert capsys.readouterr().out == "Success on 127.0.1.7\nSuccess on 127.0.1.5\n"
        with svmd.service.engine.connect() as connection:
            row = connection.execute(text("SELECT parallelism, connect_timeout FROM svm.operation")).one()
        assert tuple(row) == (1, 15)

    def test_slivers_that_have_expired_are_not_listed(
        self, svm: Svm, demo: Path, database: Engine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svm("createslice", demo)
        expire(database)
        capsys.readouterr()
        for verb in ("nodelist", "expirations"):
            assert svm(verb, "demo") == 0
            out, err = capsys.readouterr()
            assert out == ""
            assert err.endswith("see: svm status demo\n")

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
        few = Failed(Code.TOO_FEW_NODES, "too few nodes: 3 asked for, 2 available, nothing taken; ask for fewer")
        svmd.worker.results = lambda step: few if step.kind is Kind.NEWTICKETS else succeed(step)
        assert svm("createslice", demo) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err == "svm: too few nodes: 3 asked for, 2 available, nothing taken; ask for fewer\n"

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
