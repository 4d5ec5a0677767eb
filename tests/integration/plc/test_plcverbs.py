"""`dslice plc …` and `dslice enroll`: the operator on plc's machine, PIs and admins from anywhere."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import update

from admin.main import main
from admin.plc.here import of_testbed
from models.plc import account
from rpc.credentials import Credentials
from testbed.daemons import PORTS
from testbed.home import Home, Plan
from tests.integration.plc.conftest import PASSWORD, Certified, Running, register
from tests.integration.plc.programs import Ended
from trust.certificates import fingerprint, new_request
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair, parse_public_key

Dslice = Callable[..., Ended]


def run(environment: dict[str, str], words: tuple[str, ...], stdin: str) -> Ended:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DSLICE_", "PLANETLAB_"))}
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        mock.patch.dict(os.environ, {**kept, **environment}, clear=True),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main.main(list(words), prog_name="dslice")
        except SystemExit as end:
            status = end.code
    return Ended(status if isinstance(status, int) else 0, out.getvalue(), err.getvalue())


@pytest.fixture
def operator(plc: Running) -> Dslice:
    """On plc's machine, with plc's settings."""
    environment = {
        "DSLICE_DATABASE_URL": plc.settings.database_url.get_secret_value(),
        "DSLICE_STATE_DIR": str(plc.settings.state_dir),
        "DSLICE_CA_OPERATOR": plc.settings.ca_operator,
    }
    return lambda *words, stdin="": run(environment, ("plc", *words), stdin)


@pytest.fixture
def as_me(plc: Running) -> Callable[..., Ended]:
    """Anywhere, with somebody's certificate."""

    def act(who: Certified, *words: str, stdin: str = "") -> Ended:
        environment = {"PLANETLAB_HOME": str(who.credentials.directory), "DSLICE_PLC_URL": plc.url}
        return run(environment, ("plc", "--as-me", *words), stdin)

    return act


def test_requests_are_listed_and_decided(plc: Running, operator: Dslice) -> None:
    first, second = plc.person(is_pi=True), plc.person()
    for email in (first, second):
        plc.anyone().request_certificate(email, PASSWORD, new_request(plc.user_key, Identity.user(email)))

    listed = operator("requests")
    assert f"{first}  User" in listed.stdout
    assert "Princeton (enabled, PI)\n    asked 2" in listed.stdout
    rows = [json.loads(line) for line in operator("requests", "--json").stdout.splitlines()]
    assert {first, second} <= {row["email"] for row in rows}

    assert operator("approve", first).stdout == f"Certificate issued to {first}.\n"
    denied = operator("deny", second, "--reason", "who are you?")
    assert denied.stdout == f"Certificate denied to {second}.\n"
    again = operator("approve", first)
    assert (again.returncode, again.stdout) == (1, "")
    assert "dslice plc requests lists them" in again.stderr
    assert operator("approve").returncode == 2
    assert operator("deny", second).returncode == 2


def test_all_that_wait_are_approved_but_those_that_cannot_be(plc: Running, operator: Dslice) -> None:
    gone, third = plc.person(), plc.person()
    for email in (gone, third):
        plc.anyone().request_certificate(email, PASSWORD, new_request(plc.user_key, Identity.user(email)))
    with plc.central.begin() as connection:
        connection.execute(update(account).where(account.c.email == gone).values(state="disabled", reason="left"))
    done = operator("approve", "--all")
    assert done.returncode == 1
    assert f"Certificate issued to {third}.\n" in done.stdout
    assert f"{gone}: account {gone} is disabled (left)" in done.stderr
    for row in [json.loads(line) for line in operator("requests", "--json").stdout.splitlines()]:
        assert operator("deny", row["id"], "--reason", "tidying up").returncode == 0
    assert operator("requests").stderr == "No pending certificate requests.\n"


def test_a_testbed_knows_its_plc(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    home.keep_plan(Plan(network=1, ports=dict.fromkeys(PORTS, 4000)))
    home.ca_file.write_text("")
    environment = of_testbed(home.directory)
    assert environment["DSLICE_STATE_DIR"] == str(home.service("plc"))
    assert "plc@" in environment["DSLICE_DATABASE_URL"]
    down = run({"DSLICE_HOME": str(home.directory)}, ("plc", "requests"), "")
    assert (down.returncode, "dslice up" in down.stderr) == (5, True)


def test_sites_and_accounts(plc: Running, operator: Dslice) -> None:
    assert operator("add-site", "Kansas").stdout == "Site Kansas added.\n"
    assert operator("add-site", "Kansas").returncode == 1
    assert "Kansas" in operator("sites").stdout.splitlines()
    said = ("dorothy@example.org", "--name", "Dorothy", "--site", "Kansas", "--pi")
    assert operator("add-account", *said, stdin="over the rainbow\n").stdout == "Account dorothy@example.org added.\n"
    assert operator("add-account", *said, stdin="over the rainbow\n").returncode == 1
    assert operator("add-account", *said).stderr == "Error: no new password on stdin: give one a line\n"
    listed = operator("accounts", "--site", "Kansas")
    assert listed.stdout == "dorothy@example.org  Dorothy, Kansas (enabled, PI)\n"
    (row,) = [json.loads(line) for line in operator("accounts", "--site", "Kansas", "--json").stdout.splitlines()]
    assert (row["is_pi"], row["account"], row["ssh_keys"]) == (True, "enabled", 0)

    assert operator("passwd", "dorothy@example.org", stdin="no place like home\n").returncode == 0
    assert plc.central.log_in("dorothy@example.org", "no place like home", "test").site == "Kansas"
    assert operator("make-admin", "dorothy@example.org").returncode == 0
    assert operator("make-admin", "--no", "dorothy@example.org").returncode == 0
    assert operator("no-pi", "dorothy@example.org").stdout == "dorothy@example.org is not a PI.\n"
    assert operator("make-pi", "dorothy@example.org").stdout == "dorothy@example.org is a PI.\n"
    disabled = operator("disable", "dorothy@example.org", "--reason", "home", "--stop")
    assert disabled.stdout == "Account dorothy@example.org disabled.\n"
    assert Identity.user("dorothy@example.org") in plc.anyone().stops()
    assert operator("enable", "dorothy@example.org").stdout == "Account dorothy@example.org enabled.\n"
    told = [line.split("  ")[2] for line in operator("history", "dorothy@example.org").stdout.splitlines()]
    assert told == ["add", "password", "make-admin", "no-admin", "no-pi", "make-pi", "disable --stop", "enable"]


def test_disabling_names_the_slices(plc: Running, operator: Dslice) -> None:
    owner = plc.certified(is_pi=True)
    register(plc.opened_agent, "oceanstore", owner)
    told = operator("disable", owner.email, "--reason", "left")
    assert f"Slices of {owner.email}: oceanstore; they run until their leases end" in told.stdout
    assert "oceanstore" in plc.mailbox.wait_for(owner.email, "was disabled").get_content()
    assert operator("disable", owner.email).returncode == 2


def test_a_pi_enables_who_signed_up(plc: Running, as_me: Callable[..., Ended], tmp_path: Path) -> None:
    pi = plc.certified(site="Oz", is_pi=True)
    environment = {
        "PLANETLAB_HOME": str(tmp_path / "home"),
        "DSLICE_PLC_URL": plc.url,
        "DSLICE_CA_FINGERPRINT": plc.ca_fingerprint,
    }
    words = ("plc", "sign-up", "toto@example.org", "--name", "Toto", "--site", "Oz", "--contact", "phone=1")
    asked = run(environment, words, "a good long password\n")
    assert asked.stdout.startswith("Asked for an account at Oz")
    unknown = {name: value for name, value in environment.items() if name != "DSLICE_CA_FINGERPRINT"}
    unknown["PLANETLAB_HOME"] = str(tmp_path / "other")
    assert run(unknown, words, "a good long password\n").returncode == 4

    assert as_me(pi, "accounts").stdout.splitlines()[0] == "toto@example.org  Toto, Oz (requested)"
    assert as_me(pi, "enable", "toto@example.org").returncode == 0
    assert as_me(pi, "disable", "toto@example.org", "--reason", "x").returncode == 0
    refused = as_me(pi, "enable", "toto@example.org")
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert as_me(pi, "make-pi", "toto@example.org").returncode == 4
    assert "Oz" in as_me(pi, "sites").stdout


def test_an_admin_acts_over_the_network(plc: Running, as_me: Callable[..., Ended]) -> None:
    admin, email = plc.certified(is_admin=True), plc.person()
    plc.anyone().request_certificate(email, PASSWORD, new_request(plc.user_key, Identity.user(email)))
    assert email in as_me(admin, "requests").stdout
    assert as_me(admin, "approve", email).returncode == 0
    assert as_me(admin, "make-pi", email).returncode == 0
    assert as_me(admin, "no-pi", email).returncode == 0
    assert as_me(admin, "add-site", "Emerald City").returncode == 0
    passed = as_me(admin, "passwd", admin.email, stdin=f"{PASSWORD}\nanother password\n")
    assert passed.returncode == 0
    only = as_me(admin, "token", "node", "n1", "127.0.0.1")
    assert (only.returncode, "only the operator" in only.stderr) == (2, True)


def test_ssh_keys(plc: Running, operator: Dslice, as_me: Callable[..., Ended], tmp_path: Path) -> None:
    who, key = plc.certified(), new_ssh_key_pair("toto")[1]
    (tmp_path / "key.pub").write_text(key)
    sha256 = parse_public_key(key).fingerprint
    assert operator("sshkeys", who.email, "--add", str(tmp_path / "key.pub")).stdout == f"{sha256}  {key}\n"
    assert as_me(who, "sshkeys", who.email).stdout == f"{sha256}  {key}\n"
    assert operator("sshkeys", who.email, "--remove", sha256).stdout == ""
    assert as_me(who, "sshkeys", who.email, "--add", str(tmp_path / "key.pub")).returncode == 0
    assert as_me(who, "sshkeys", who.email, "--remove", sha256).returncode == 0
    other = plc.certified()
    assert as_me(other, "sshkeys", who.email, "--add", str(tmp_path / "key.pub")).returncode == 4


def test_a_token_lets_a_service_in(plc: Running, operator: Dslice, tmp_path: Path) -> None:
    made = operator("token", "svm", "lab2", "127.0.0.1").stdout.strip()
    words = ("enroll", "--plc", plc.url, "--dir", str(tmp_path / "svm"))
    assert run({}, words, "").returncode == 2
    first = run({}, (*words, "--token-file", "-"), f"{made}\n")
    assert first.stdout == f"spiffe://planet-lab/svm/lab2 enrolled in {tmp_path / 'svm'}.\n"
    assert Credentials(tmp_path / "svm").identity == Identity(Role.SVM, "lab2")
    again = run({}, (*words, "--token", made), "")
    assert (again.returncode, again.stderr.count("\n")) == (4, 1)
    assert run({}, (*words, "--token", "nonsense"), "").returncode == 2

    assert "svm/lab2  127.0.0.1" in operator("services").stdout.splitlines()
    assert operator("revoke", "svm/lab2", "--reason", "stolen").stdout == "1 certificate of svm/lab2 revoked.\n"
    serial = Credentials(tmp_path / "svm").certificate.serial_number
    assert serial in (plc.store().revocations or pytest.fail("no list")).serials
    assert "revoke  stolen" in operator("history", "svm/lab2").stdout
    assert operator("revoke", "svm/ghost", "--reason", "x").returncode == 1
    assert operator("revoke", "nonsense", "--reason", "x").returncode == 2
    assert operator("token", "user", "x", "127.0.0.1").returncode == 2


def test_what_users_compare(plc: Running, operator: Dslice) -> None:
    assert operator("ca").stdout == f"{fingerprint(plc.central.authority.certificate)}\n"
    assert operator("ca", "--pem").stdout == plc.ca_pem


def test_away_from_plc(tmp_path: Path) -> None:
    nowhere = run({"DSLICE_HOME": str(tmp_path / "none")}, ("plc", "requests"), "")
    assert (nowhere.returncode, "--as-me" in nowhere.stderr) == (2, True)
    dead = {"DSLICE_DATABASE_URL": "postgresql+psycopg://plc@/x?host=/nonexistent", "DSLICE_STATE_DIR": str(tmp_path)}
    down = run(dead, ("plc", "requests"), "")
    assert (down.returncode, down.stderr.count("\n")) == (5, 1)
    assert run({"PLANETLAB_HOME": str(tmp_path)}, ("plc", "--as-me", "requests"), "").returncode == 2
