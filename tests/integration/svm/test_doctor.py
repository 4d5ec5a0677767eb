"""`svm doctor`: one line for each thing that it looks at, and what reconcile has found about one's own slices only."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text

from agent.client import AdList
from models.svm import finding, node_table, slice_table
from plc.client import AgentEntry
from svm.main import run
from svm.service import doctor
from tests.integration.svm.conftest import Lab, Running, Svm, running
from tests.unit.nodemgr.test_around import AD

NODE = "127.0.1.2"


def ail(database: Engine) -> None:
    """As reconcile writes it down: one VM is missing, another's node is silent, and a stranger's is an orphan."""
    with database.begin() as connection:
        slice_id = connection.scalar(select(slice_table.c.slice_id).where(slice_table.c.name == "demo"))
        for name, what, id in (("demo", "missing", slice_id), ("strange", "orphan", uuid4())):
            connection.execute(finding.insert().values(node="127.0.1.1", slice_name=name, what=what, slice_id=id))
        silent = {"silent_since": func.now(), "error_code": "unreachable", "last_error": "connection refused"}
        connection.execute(node_table.update().where(node_table.c.node == NODE).values(**silent))


@pytest.fixture
def forgotten(database: Engine) -> Iterator[None]:
    yield
    with database.begin() as connection:
        connection.execute(text("DELETE FROM svm.finding"))
        connection.execute(text("DELETE FROM svm.node"))


def bad(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("BAD")]


@pytest.mark.usefixtures("forgotten")
def test_what_reconcile_has_found(
    svm: Svm, demo: Path, database: Engine, capsys: pytest.CaptureFixture[str], svmd: Running, lab: Lab
) -> None:
    assert svm("createslice", demo) == 0
    capsys.readouterr()
    assert svm("doctor") == 1
    out = capsys.readouterr().out
    assert bad(out) == ["BAD  agents: plc knows none yet: tell its operator"]
    assert "ok   slice demo, 3 of 3 running" in out
    assert "ok   clock agrees with svmd's" in out
    assert "certificate of pi@a.example, 29 days left" in out
    ail(database)
    assert svm("doctor") == 1
    out = capsys.readouterr().out
    assert "BAD  slice demo, 3 of 3 running, 127.0.1.1: its node no longer has its VM" in out
    assert f"BAD  slice demo, 3 of 3 running, {NODE}: it has not answered since" in out
    assert "(connection refused)" in out
    assert "strange" not in out
    other = svmd.home(lab.user("else@a.example"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANETLAB_HOME", str(other))
        run(["doctor"])
    assert "demo" not in capsys.readouterr().out


def test_an_agent_that_is_away_and_json(lab: Lab, database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    agents = (AgentEntry("nobody", "https://127.0.0.1:1"),)
    with running(lab, database, agents) as svmd, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user())))
        assert run(["--json", "doctor"]) == 1
    *rows, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert {row["type"] for row in rows} == {"row"}
    assert [row["what"] for row in rows if not row["ok"]] == ["agent nobody"]
    assert summary == {"type": "summary", "operation": None, "ok": len(rows) - 1, "failed": 1, "exit": 1}


def test_an_agent_that_hangs_is_named_and_keeps_nobody_waiting(
    lab: Lab, database: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and says nothing; svmd asks all side by side, for so many seconds."""
    monkeypatch.setattr(doctor, "AGENT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        agents = (AgentEntry("mute", f"https://127.0.0.1:{mute.getsockname()[1]}"),)
        with running(lab, database, agents) as svmd:
            monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user())))
            assert run(["doctor"]) == 1
    assert bad(capsys.readouterr().out) == ["BAD  agent mute: no answer within 1 s; see its log"]


def test_a_node_whose_disk_is_full(
    lab: Lab,
    svm: Svm,
    demo: Path,
    database: Engine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the agent passes it on (tests/integration/nodemgr/test_full_disk.py has a real one)."""

    async def ads(*_: object) -> AdList:
        free_mb = ((1, 5_000), (2, 0), (3, None))
        return AdList(
            tuple(
                replace(AD, node=f"n{number}", address=f"127.0.1.{number}", disk_free_mb=mb) for number, mb in free_mb
            ),
            "",
        )

    assert svm("createslice", demo) == 0
    monkeypatch.setattr("svm.service.ads.Lists.of", ads)
    with running(lab, database, (AgentEntry("agent", "https://127.0.0.1:1"),)) as svmd:
        monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user())))
        capsys.readouterr()
        assert run(["doctor"]) == 1
    (line,) = bad(capsys.readouterr().out)
    assert line.startswith("BAD  slice demo, 3 of 3 running, 127.0.1.2: the disk of its node is full: svm ssh demo")


def test_roles_that_show_no_life(lab: Lab, database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """This lab has a worker that sings no canaries, and no beat."""
    with running(lab, database, role_silence=0) as svmd, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user())))
        assert run(["doctor"]) == 1
    dead = [line for line in bad(capsys.readouterr().out) if "at work" in line]
    assert len(dead) == 1
    assert dead[0].startswith("BAD  worker at work: no sign of life for ")
    assert dead[0].endswith("'dslice start worker1' on a testbed, 'dslice run worker' elsewhere")


def test_a_setup_that_is_not_one(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANETLAB_HOME", str(tmp_path / "nothing"))
        assert run(["doctor"]) == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(f"BAD  key and certificate: no certificate in {tmp_path / 'nothing'}: run plkeygen")
        user = lab.user("late@a.example")
        old = lab.credentials(user.identity, started=lab.clock.now() - timedelta(days=9), lifetime=86_400, pi=True)
        patch.setenv("PLANETLAB_HOME", str(old.directory))
        assert run(["doctor"]) == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("BAD  certificate of late@a.example: it ended at")


def test_svmd_is_away(svmd: Running, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    home = svmd.home(lab.user())
    (home / "directory.json").write_text((home / "directory.json").read_text().replace(svmd.url, "https://127.0.0.1:1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANETLAB_HOME", str(home))
        assert run(["-t", "1", "doctor"]) == 1
    assert bad(capsys.readouterr().out)[0].startswith("BAD  svmd: ")
