"""`dslice run svmd` with a real plc, a real agent and simulated nodes: how it gets in, is found, and asks agents."""

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from plc.bootstrap import Person
from plc.client import Member, Plc
from plc.enrolment import Enrolment
from rpc.credentials import ROOT
from svm.client import CACHE, CACHE_SECONDS
from svm.main import run
from testbed.embedded import Postgres, Valkey
from tests.integration.agent.lab import Lab, daemon, laboratory
from trust.clock import SystemClock
from trust.identity import Identity, Role

PI = "daemon@example.org"

Svm = Callable[..., int]


@dataclass
class PlanetLab:
    """The lab, and how svmd is started in it."""

    lab: Lab
    environment: dict[str, str]
    log: Path


@pytest.fixture(scope="module")
def planetlab(postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlanetLab]:
    folder = tmp_path_factory.mktemp("planetlab")
    postgres.create_database("svm_daemon")
    with laboratory(postgres, folder, nodes=3) as lab:
        services = (Identity(Role.SVM, "svm"), Identity(Role.AGENT, "agent"))
        token, agents = lab.bootstrap.tokens([Enrolment(each, ("127.0.0.1",)) for each in services])
        with closing(enrolled(lab, agents)) as agent:
            agent.announce(url_of_agent(lab))
        lab.bootstrap.accounts([Person(PI, "correct horse battery", "PI", "Princeton", is_pi=True)])
        lab.bootstrap.certify(PI, folder / "home")
        environment = {
            "DSLICE_STATE_DIR": str(folder / "svmd"),
            "DSLICE_DATABASE_URL": postgres.url("svm", "svm_daemon"),
            "DSLICE_BROKER_URL": valkey.url,
            "DSLICE_PLC_URL": lab.plc_url,
            "DSLICE_LISTEN": "127.0.0.1:0",
            "DSLICE_NAME": "svm",
            "DSLICE_ENROLL_TOKEN": token,
        }
        yield PlanetLab(lab, environment, folder / "svmd.log")


def url_of_agent(lab: Lab) -> str:
    """Where the lab's agent answers, which it notes once it does."""
    return str(vars(lab)["agent_url"])


def enrolled(lab: Lab, token: str) -> Member:
    """The agent as plc knows it; the lab's own certificate of that name is none of plc's."""
    return Member.join(
        directory=lab.folder / "agent",
        plc_url=lab.plc_url,
        role=Role.AGENT,
        name="agent",
        token=token,
        clock=SystemClock(),
    )


@pytest.fixture(scope="module")
def svmd(planetlab: PlanetLab) -> Iterator[str]:
    """A running svmd that plc's directory lists; its URL."""
    with daemon("svm.service.daemon", planetlab.environment, planetlab.log) as (_, address):
        wait_until_listed(planetlab, f"https://{address}")
        yield f"https://{address}"


def wait_until_listed(planetlab: PlanetLab, url: str) -> None:
    with closing(Plc(planetlab.lab.plc_url, planetlab.lab.agent_credentials)) as plc:
        while plc.directory().svmd != url:
            time.sleep(0.05)


@pytest.fixture
def home(planetlab: PlanetLab) -> Path:
    """The PI's key directory, which knows plc and nothing else."""
    directory = planetlab.lab.folder / "home"
    (directory / CACHE).unlink(missing_ok=True)
    return directory


@pytest.fixture
def svm(planetlab: PlanetLab, svmd: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Svm:
    monkeypatch.setenv("PLANETLAB_HOME", str(home))
    monkeypatch.setenv("DSLICE_PLC_URL", planetlab.lab.plc_url)
    return lambda *words: run([str(word) for word in words])


def slice_file(folder: Path, numnodes: int, ips: str = "") -> Path:
    path = folder / "demo.xml"
    path.write_text(
        f"<slice><name>demo</name><numnodes>{numnodes}</numnodes><leaselen>60</leaselen><ips>{ips}</ips></slice>"
    )
    return path


def test_getads_through_plc_and_svmd(
    svm: Svm, planetlab: PlanetLab, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert svm("getads") == 0
    assert capsys.readouterr().out.split() == planetlab.lab.addresses()
    assert (home / CACHE).stat().st_mode & 0o777 == 0o600
    assert svm("--json", "getads", "agent") == 0
    ad = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (ad["type"], ad["agent"], ad["simulated"]) == ("row", "agent", True)


def test_an_agent_that_is_not_known(svm: Svm, capsys: pytest.CaptureFixture[str]) -> None:
    assert svm("getads", "dslice.planet-lab.org") == 1
    assert "known: agent" in capsys.readouterr().err


def test_dry_run_takes_the_listed_nodes_in_order_and_nothing(
    svm: Svm, planetlab: PlanetLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = planetlab.lab.addresses()
    path = slice_file(tmp_path, 2, f"{third} 192.0.2.1 {first} {second}")
    assert svm("createslice", "--dry-run", path) == 0
    assert capsys.readouterr().out.split() == [third, first]
    assert svm("createslice", "--dry-run", slice_file(tmp_path, 3)) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(planetlab.lab.addresses())
    assert svm("createslice", "--dry-run", slice_file(tmp_path, 4)) == 1
    assert "3 available" in capsys.readouterr().err
    assert svm("createslice", "--dry-run", "--agent", "other", slice_file(tmp_path, 1)) == 1
    assert "no agent" in capsys.readouterr().err
    assert svm("slices") == 0
    assert "no slices" in capsys.readouterr().out


def test_a_svmd_that_moved_is_found_again(svm: Svm, home: Path, svmd: str) -> None:
    assert svm("slices") == 0
    kept = json.loads((home / CACHE).read_text())
    (home / CACHE).write_text(json.dumps({**kept, "svmd": "https://127.0.0.1:9"}))
    assert svm("slices") == 0
    assert json.loads((home / CACHE).read_text())["svmd"] == svmd


def test_where_another_service_answers_now(svm: Svm, home: Path, svmd: str, planetlab: PlanetLab) -> None:
    assert svm("slices") == 0
    kept = json.loads((home / CACHE).read_text())
    (home / CACHE).write_text(json.dumps({**kept, "svmd": url_of_agent(planetlab.lab)}))
    assert svm("slices") == 0
    assert json.loads((home / CACHE).read_text())["svmd"] == svmd


def test_plc_away_is_no_matter_when_svmd_is_known(svm: Svm, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert svm("slices") == 0
    kept = json.loads((home / CACHE).read_text())
    (home / CACHE).write_text(json.dumps({**kept, "plc": "https://127.0.0.1:9"}))
    old = time.time() - CACHE_SECONDS - 10
    os.utime(home / CACHE, (old, old))
    monkeypatch.setenv("DSLICE_PLC_URL", "https://127.0.0.1:9")
    assert svm("slices") == 0


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "[]",
        "{}",
        '{"plc": "PLC"}',
        '{"plc": "PLC", "svmd": "x", "svm": "nonsense"}',
        '{"plc": "other", "svmd": "x", "svm": "spiffe://planet-lab/svm/svm"}',
        '{"plc": "PLC", "svmd": "https://127.0.0.1:9", "svm": "spiffe://planet-lab/agent/agent"}',
    ],
)
def test_a_kept_place_that_makes_no_sense_is_asked_anew(svm: Svm, home: Path, planetlab: PlanetLab, kept: str) -> None:
    (home / CACHE).write_text(kept.replace("PLC", planetlab.lab.plc_url))
    assert svm("slices") == 0


def test_neither_plc_nor_svmd(svm: Svm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DSLICE_PLC_URL", "https://127.0.0.1:9")
    assert svm("slices") == 5
    assert capsys.readouterr().err.count("\n") == 1


def test_it_comes_back_with_the_certificate_it_has(planetlab: PlanetLab, svmd: str) -> None:
    del svmd
    again = {**planetlab.environment, "DSLICE_ENROLL_TOKEN": ""}
    with daemon("svm.service.daemon", again, planetlab.log) as (_, address):
        wait_until_listed(planetlab, f"https://{address}")


def whole_answer(address: str, context: ssl.SSLContext) -> bytes:
    front = http.client.HTTPSConnection(address, context=context, timeout=30)
    try:
        front.request("GET", "/extend/x")
        return front.getresponse().read()
    finally:
        front.close()


def test_it_serves_the_page_for_links_where_a_setting_says(planetlab: PlanetLab, svmd: str) -> None:
    """To callers without a certificate, whom svmd's own address does not take; by its certificate of the moment."""
    del svmd
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    again = {**planetlab.environment, "DSLICE_ENROLL_TOKEN": "", "DSLICE_LINKS_LISTEN": f"127.0.0.1:{port}"}
    with daemon("svm.service.daemon", again, planetlab.log) as (_, address):
        context = ssl.create_default_context(cafile=str(Path(again["DSLICE_STATE_DIR"]) / ROOT))
        page = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
        page.request("GET", "/extend/x")
        answer = page.getresponse()
        assert answer.status == 404
        assert b"This link is not whole" in answer.read()
        page.close()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            whole_answer(address, context)


def test_without_a_certificate_or_a_token_it_says_so_in_one_line(planetlab: PlanetLab, tmp_path: Path) -> None:
    changes = {"DSLICE_STATE_DIR": str(tmp_path / "state"), "DSLICE_ENROLL_TOKEN": ""}
    environment = {**os.environ, **planetlab.environment, **changes}
    argv = [sys.executable, "-c", "from svm.service.daemon import main; main()"]
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.strip().splitlines()[-1].startswith("svmd: ")
    assert "Traceback" not in ended.stderr
