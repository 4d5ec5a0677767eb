"""Who may not: refused at svmd, at the agent and at the node, each on its own.

The calls are made with Python's own http.client and ssl, not with dslice's client; only certificates that plc would
never make are forged with the CA's key.
"""

import http.client
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rpc.credentials import Credentials
from tests.acceptance.lab import NOT_ALLOWED, OTHER_PI, PI, USER, Lab, until
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.documents import sign_delegation, working_delegation
from trust.identity import Identity, Role

AGENT = Identity(Role.AGENT, "dslice.planet-lab.org")
SERVICES = ("svmd", "agent", "node")

# A changing call of each service that an owner who is a PI may make.
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "svmd": ("POST", "/operations", {"verb": "deleteslice", "slice": "theirs"}),
    "agent": ("POST", "/tickets", {"slice": "theirs", "numnodes": 1, "leaselen": 60}),
    "node": ("POST", "/slivers/theirs/renew", {"slice_id": "", "from_generation": 99}),
}
ANOTHERS = {"svmd": (403, "not-allowed"), "agent": (409, "name-taken"), "node": (403, "not-owner")}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and code of a refusal; status 0 when the connection itself was refused."""

    status: int
    code: str


def call(lab: Lab, service: str, certificate: Path | None, body: dict[str, Any] | None = None) -> Answer:
    """The service's call from CALLS, with key.pem and cert.pem in a folder, or with none."""
    method, path, given = CALLS[service]
    if service == "node":
        given = {
            **given,
            "slice_id": ask(lab, service, lab.home / "users" / PI, "GET", "/slivers/theirs")[1]["slice_id"],
        }
    try:
        status, answer = ask(lab, service, certificate, method, path, body or given)
    except (ssl.SSLError, ConnectionError):
        return Answer(0, "")
    return Answer(status, str(answer.get("code", "")))


def ask(
    lab: Lab, service: str, certificate: Path | None, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """One request; status and body."""
    context = ssl.create_default_context(cafile=str(lab.home / "ca.pem"))
    if certificate is not None:
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    host, port = address(lab, service)
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=20)
    try:
        headers = {"Content-Type": "application/json", **delegation(certificate, service)}
        connection.request(method, path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else {}
    finally:
        connection.close()


def delegation(certificate: Path | None, service: str) -> dict[str, str]:
    """What a user who asks an agent himself shows beside the certificate."""
    if certificate is None or service != "agent":
        return {}
    user = Credentials(certificate)
    if user.identity.role is not Role.USER:
        return {}
    signed = working_delegation(user.identity, AGENT, "theirs", user.certificate, datetime.now(UTC))
    return {"Dslice-Delegation": sign_delegation(signed, user.key, user.certificate)}


def address(lab: Lab, service: str) -> tuple[str, int]:
    rows = {row["name"]: row for row in lab.ps()}
    found = rows["n1" if service == "node" else service]["address"]
    host, _, port = found.rpartition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def theirs(lab: Lab) -> str:
    """A slice of the PI's on the first real node."""
    lab.create("theirs", lab.real[:1]).must()
    return "theirs"


@pytest.fixture
def forge(lab: Lab, tmp_path: Path) -> Callable[..., Path]:
    """Credentials that plc would not give."""

    def made(
        authority: Authority | None = None, *, ended: bool = False, identity: Identity | None = None, pi: bool = True
    ) -> Path:
        signer = authority or Authority.from_pem((lab.home / "services/plc/authority.pem").read_bytes())
        begun = datetime.now(UTC) - timedelta(days=2 if ended else 0, minutes=1)
        who = identity or Identity.user(PI)
        key = new_private_key(who.role)
        leaf = signer.issue(who, key.public_key(), now=begun, lifetime=86_400, pi=pi)
        (tmp_path / "key.pem").write_text(key_to_pem(key))
        (tmp_path / "cert.pem").write_text(certificate_to_pem(leaf))
        return tmp_path

    return made


@pytest.mark.parametrize("service", SERVICES)
def test_the_owner_is_let_in(lab: Lab, theirs: str, service: str) -> None:
    """The other tests here would pass against a server that refuses everybody."""
    senseless = None if service == "node" else {"verb": "nonsense"}
    answer = call(lab, service, lab.home / "users" / PI, senseless)
    assert answer.status not in (0, 401, 403)


@pytest.mark.parametrize("service", SERVICES)
def test_no_certificate(lab: Lab, service: str) -> None:
    assert call(lab, service, None).status in (0, 401)


@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_of_another_ca(lab: Lab, forge: Callable[..., Path], service: str) -> None:
    assert call(lab, service, forge(Authority.create(datetime.now(UTC)))).status in (0, 401)


@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_that_has_ended(lab: Lab, forge: Callable[..., Path], service: str) -> None:
    assert call(lab, service, forge(ended=True)).status in (0, 401)


@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_of_a_role_that_may_not(lab: Lab, forge: Callable[..., Path], service: str) -> None:
    assert call(lab, service, forge(identity=Identity(Role.NODE, "n9"), pi=False)) == Answer(403, "not-allowed")


@pytest.mark.parametrize("service", SERVICES)
def test_an_owner_who_is_no_pi(lab: Lab, theirs: str, forge: Callable[..., Path], service: str) -> None:
    assert call(lab, service, forge(pi=False)) == Answer(403, "not-allowed")


@pytest.mark.parametrize("service", SERVICES)
def test_a_user_who_is_no_pi(lab: Lab, theirs: str, service: str) -> None:
    answer = call(lab, service, lab.home / "users" / USER)
    assert answer.status == 403
    assert answer.code in ("not-allowed", "not-owner")


@pytest.mark.parametrize("service", SERVICES)
def test_another_s_slice(lab: Lab, theirs: str, service: str) -> None:
    answer = call(lab, service, lab.home / "users" / OTHER_PI)
    # svmd asks for the caller's own delegation first; what it then says of the slice is tested below.
    assert (answer.status, answer.code) == ANOTHERS[service]
    assert lab.svm("nodelist", theirs).must().lines == lab.real[:1]


def test_what_the_command_line_says(lab: Lab, theirs: str) -> None:
    for user, words in (
        (OTHER_PI, ("deleteslice", theirs)),
        (OTHER_PI, ("renewslice", theirs)),
        (USER, ("createslice", lab.slice_file("nopi", 1))),
        ("nobody@testbed.example", ("getads",)),
    ):
        refused = lab.svm(*words, user=user).must(NOT_ALLOWED)
        assert refused.out == ""
        assert len(refused.err.splitlines()) == 1, refused.err


def test_a_revoked_certificate_within_a_minute(lab: Lab, theirs: str) -> None:
    email = "leaver@testbed.example"
    lab.run(
        "dslice",
        "plc",
        "add-account",
        email,
        "--name",
        "Lee",
        "--site",
        "Berkeley",
        "--pi",
        typed="a long password\n" * 2,
    ).must()
    (lab.home / "users" / email).mkdir(mode=0o700)
    places = re.findall(r"export (DSLICE_\w+)=(\S+)", lab.dslice("env").must().out)
    shell = {name: value.strip("'") for name, value in places}
    lab.run("plkeygen", user=email, typed=f"{email}\na long password\n", **shell).must()
    lab.dslice("plc", "approve", email).must()
    lab.run("plkeygen", "--refresh", user=email, typed=f"{email}\n", **shell).must()
    assert call(lab, "agent", lab.home / "users" / email).code == "name-taken"
    lab.dslice("plc", "disable", email, "--reason", "left").must()
    for service in SERVICES:
        until(lambda service=service: call(lab, service, lab.home / "users" / email).code == "revoked", longest=60)  # type: ignore[misc]
