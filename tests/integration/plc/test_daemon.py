"""plc as a process: what it needs to start, what it does by itself, what it says when something is wrong."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from models import database
from plc import daemon
from plc.api import build
from plc.bootstrap import Bootstrap, Person
from plc.central import Central
from plc.client import Plc
from plc.client.trusting import offered_root
from plc.daemon import Upkeep
from plc.enrolment import Enrolment
from plc.settings import Settings
from rpc.first_contact import fetch_unverified
from rpc.server import deny_by_default
from rpc.tls import server_context
from testbed.embedded import Postgres
from tests.integration.plc.conftest import PASSWORD, Running, refused, started
from trust.certificates import Authority, certificate_from_pem, certificate_to_pem
from trust.clock import SystemClock
from trust.errors import Code
from trust.identity import Identity, Role
from trust.revocation import RevocationList


@pytest.fixture
def own(fresh_database: Callable[..., str], tmp_path: Path) -> dict[str, str]:
    """Settings of a plc of the test's own."""
    return {
        "DSLICE_STATE_DIR": str(tmp_path / "state"),
        "DSLICE_DATABASE_URL": fresh_database("plc"),
        "DSLICE_LISTEN": "127.0.0.1:0",
    }


def opened(own: dict[str, str], offset: int = 0) -> Central:
    settings = Settings(
        state_dir=Path(own["DSLICE_STATE_DIR"]), database_url=own["DSLICE_DATABASE_URL"], listen=own["DSLICE_LISTEN"]
    )
    return Central.open(settings, SystemClock(offset), migrate=True)


def test_it_starts_from_nothing_and_again(own: dict[str, str], tmp_path: Path) -> None:
    roots = []
    for _ in range(2):
        with started(own, tmp_path / "log") as address:
            roots.append(json.loads(fetch_unverified(f"https://{address}", "/.well-known/planetlab"))["ca"])
            with Plc(f"https://{address}", ca_pem=roots[0]) as plc:
                number = RevocationList.parse(plc.crl(), certificate_from_pem(roots[0])).number
                assert plc.directory().agents == ()
    assert roots[0] == roots[1]
    assert number
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert database.check(own["DSLICE_DATABASE_URL"], "plc") == []


def test_the_operators_own_directory(own: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps({"svmd": "https://a:1", "svm": "lab", "agents": []}))
    with started({**own, "DSLICE_DIRECTORY_FILE": str(tmp_path / "d.json")}, tmp_path / "log") as address:
        shown = json.loads(fetch_unverified(f"https://{address}", "/.well-known/planetlab"))
    assert (shown["svmd"], shown["svm"]) == ("https://a:1", "spiffe://planet-lab/svm/lab")


def test_anybody_may_look_at_health_and_list(plc: Running) -> None:
    assert json.loads(fetch_unverified(plc.url, "/healthz")) == {"status": "ok"}
    context = ssl.create_default_context(cadata=plc.ca_pem)
    with urllib.request.urlopen(f"{plc.url}/crl", context=context) as answer:  # noqa: S310 - https, as just made
        assert RevocationList.parse(answer.read(), certificate_from_pem(plc.ca_pem)).number


def test_upkeep_outlives_a_database_that_is_away(
    own: dict[str, str],
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(daemon, "TICK", 0.01)
    central = opened(own)
    upkeep = Upkeep(central)
    postgres.drop_database(own["DSLICE_DATABASE_URL"].partition("?")[0].rpartition("/")[2])
    upkeep.start()
    for _ in range(2000):
        if caplog.text.count("upkeep failed; it is tried again") > 1:
            break
        time.sleep(0.01)
    else:
        raise AssertionError(caplog.text)
    upkeep.stop()
    central.close()


def test_everything_is_guarded_or_marked_open(own: dict[str, str]) -> None:
    central = opened(own)
    upkeep = Upkeep(central)
    deny_by_default(build(central, upkeep.store))
    central.close()


def test_its_own_certificate_is_renewed_and_its_view_of_revocations_kept(own: dict[str, str]) -> None:
    central = opened(own)
    upkeep = Upkeep(central)
    first, number = upkeep.credentials.certificate, (upkeep.store.revocations or pytest.fail("no list")).number
    upkeep.look()
    assert upkeep.credentials.certificate == first
    central.close()

    later = opened(own, offset=57_700)
    again = Upkeep(later)
    assert again.credentials.certificate != first
    (Path(own["DSLICE_STATE_DIR"]) / "cert.pem").unlink()
    again.look()
    assert again.credentials.exists()
    assert (again.store.revocations or pytest.fail("no list")).number > number
    again.start()
    again.stop()
    later.close()


def test_it_moves_to_another_address(own: dict[str, str]) -> None:
    central = opened(own)
    first = Upkeep(central).credentials.certificate
    central.close()
    moved = opened({**own, "DSLICE_LISTEN": "127.0.0.2:0"})
    assert Upkeep(moved).credentials.certificate != first
    moved.close()


def test_a_restored_database_without_its_ca_is_not_served(own: dict[str, str], tmp_path: Path) -> None:
    central = opened(own)
    Upkeep(central)
    central.close()
    (tmp_path / "state" / "authority.pem").unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "plc.daemon"], env=own, capture_output=True, text=True, cwd=Path.cwd(), timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("plc: ")
    assert "restore the file" in ended.stderr


def test_a_ca_that_changed_gets_new_certificates(own: dict[str, str], tmp_path: Path) -> None:
    central = opened(own)
    Upkeep(central)
    central.close()
    other = Authority.create(SystemClock().now())
    (tmp_path / "state" / "authority.pem").write_text(other.to_pem())
    changed = opened(own)
    assert Upkeep(changed).credentials.root_pem == certificate_to_pem(other.certificate)
    changed.close()


def test_wrong_settings_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DSLICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSLICE_STATE_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        daemon.main()
    assert ended.value.code == "plc: DSLICE_DATABASE_URL is not set: docs/operating.md, Settings, says what to give"


def test_bootstrapping_twice_changes_nothing(own: dict[str, str], tmp_path: Path) -> None:
    settings = Settings(state_dir=Path(own["DSLICE_STATE_DIR"]), database_url=own["DSLICE_DATABASE_URL"])
    certificates = []
    for _ in range(2):
        with Bootstrap.open(settings) as plc:
            plc.sites(["Princeton", "Berkeley"])
            plc.accounts([Person("pi@example.org", PASSWORD, "Larry", "Princeton", is_pi=True)])
            plc.certify("pi@example.org", tmp_path / "pi")
            nodes = [Enrolment(Identity(Role.NODE, f"n{number}"), ("127.0.0.1",)) for number in range(3)]
            assert len(plc.tokens(nodes)) == 3
            certificates.append((tmp_path / "pi" / "cert.pem").read_text())
    assert certificates[0] == certificates[1]
    with Bootstrap.open(settings, SystemClock(offset=int(timedelta(days=89.5).total_seconds()))) as plc:
        plc.certify("pi@example.org", tmp_path / "pi")
    assert (tmp_path / "pi" / "cert.pem").read_text() != certificates[0]


class TestFirstContact:
    def test_only_https(self) -> None:
        refused(lambda: fetch_unverified("http://127.0.0.1:1", "/"), Code.BAD_INPUT, "not an address of plc")

    def test_nobody_there(self) -> None:
        refused(lambda: fetch_unverified("https://127.0.0.1:1", "/"), Code.UNREACHABLE, "does not answer")

    def test_somebody_else(self, plc: Running) -> None:
        refused(lambda: fetch_unverified(plc.url, "/nothing"), Code.INTERNAL, "it answered 404")

    @pytest.mark.parametrize("body", [b"{}", b'{"ca": "nonsense"}', b"nonsense", b"[" * 10_000, b"1" * 70_000])
    def test_somebody_who_shows_no_ca(self, plc: Running, body: bytes) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Answer) as server:
            context = server_context(plc.opened_agent.credentials, client_certificate="optional")
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = Thread(target=server.handle_request)
            thread.start()
            url = f"https://127.0.0.1:{server.server_port}"
            refused(lambda: offered_root(url), Code.INTERNAL, "is not a plc")
            thread.join()
