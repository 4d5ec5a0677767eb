"""The lab's file: what it promises, and every role started by the command line that stands there."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from plc.bootstrap import Bootstrap, Person
from plc.settings import Settings
from testbed.addresses import Claim, claim_network, claim_port
from testbed.embedded import Postgres, Valkey, server_program
from tests.integration.testbed.compose import ROOT, Host, MissingError, load

PASSWORDS = (
    "POSTGRES_PASSWORD",
    "PLC_DB_PASSWORD",
    "AGENT_DB_PASSWORD",
    "SVM_DB_PASSWORD",
    "BROKER_PASSWORD",
    "FLOWER_PASSWORD",
    "METRICS_TOKEN",
)
GIVEN = {**{name: f"{name.lower().replace('_', '')}7" for name in PASSWORDS}, "CA_OPERATOR": "operator@lab.example"}
SERVERS = ("postgres", "valkey")
ROLES = ("plc", "tokens", "agent", "svmd", "worker", "beat", "flower", "node1", "node2", "node3")
# As `depends_on` has it, but for those that only wait to save themselves a retry.
STARTED_TOGETHER = (("plc",), ("tokens",), ("agent", "svmd", "node1", "node2", "node3"), ("worker", "beat", "flower"))
OWNER = "pi@lab.example"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(GIVEN)["services"]
    return found


@pytest.mark.parametrize("name", [*PASSWORDS, "CA_OPERATOR"])
def test_nothing_starts_without_its_passwords(name: str) -> None:
    with pytest.raises(MissingError, match=name):
        load({**GIVEN, name: ""})


OPTIONAL = {"SMTP_URL", "LINKS_URL", "HOOKS_ALLOW"}


def test_the_example_names_every_variable() -> None:
    example = (ROOT / "deploy/lab/env.example").read_text()
    assert {line.split("=")[0] for line in example.splitlines() if re.match(r"\w+=", line)} == {*GIVEN, *OPTIONAL}


def test_every_role_is_there_with_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    assert services.keys() == {*SERVERS, *ROLES, "shell"}
    assert sorted(name for names in STARTED_TOGETHER for name in names) == sorted(ROLES)
    assert all("healthcheck" in services[name] for name in (*SERVERS, *ROLES) if name != "tokens")


def test_ports_are_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_must_last_lies_in_named_volumes(services: dict[str, dict[str, Any]]) -> None:
    declared = load(GIVEN)["volumes"]
    sources = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert {source for source in sources if not source.startswith("./")} == declared.keys()
    for name in (*SERVERS, *ROLES):
        assert services[name]["volumes"], name


def test_the_roles_script_gives_each_service_its_schema_alone(postgres: Postgres, tmp_path: Path) -> None:
    """Against a server that has the roles already: the script may run twice, and sets passwords and schemas."""
    postgres.create_database("lab", template="template0")
    try:
        folder = server_program("psql").parent
        env = {
            **GIVEN,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "POSTGRES_DB": "lab",
            "PGHOST": str(postgres.directory),
            "HOME": str(tmp_path),
        }
        for _ in range(2):
            run = subprocess.run([str(ROOT / "deploy/lab/roles.sh")], env=env, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr
        with psycopg.connect(postgres.url("svm", "lab").replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE svm.t (i int)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE plc.t (i int)")
        refused = subprocess.run(
            [str(ROOT / "deploy/lab/roles.sh")], env={**env, "SVM_DB_PASSWORD": ""}, capture_output=True, text=True
        )
        assert refused.returncode != 0
    finally:
        postgres.drop_database("lab")


def test_the_broker_s_command_line(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    program, *words = services["valkey"]["command"]
    assert program == "valkey-server"
    argv = [str(server_program("valkey-server")), *words, "--port", "0", "--unixsocket", "s.sock", "--save", ""]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        until((tmp_path / "s.sock").exists)
        import redis

        client = redis.Redis(unix_socket_path=str(tmp_path / "s.sock"), password=GIVEN["BROKER_PASSWORD"])
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        server.terminate()


@pytest.fixture
def host(
    postgres: Postgres, fresh_database: Callable[..., str], fresh_valkey: Valkey, tmp_path: Path
) -> Iterator[Host]:
    """All hosts of the file are this one; its two servers are the embedded ones."""
    sockets = fresh_database("svm").partition("@")[2]
    claim = Claim()
    network = claim_network(claim, None)
    measured = ("plc", "agent", "svmd", "worker", "beat", "node1", "node2", "node3")
    wanted = [("plc", 7443), ("agent", 7444), ("svmd", 7445), ("flower", 5555), *((name, 9100) for name in measured)]
    places = {
        "@postgres:5432/dslice": f"@{sockets}",
        f"redis://:{GIVEN['BROKER_PASSWORD']}@valkey:6379/0": fresh_valkey.url,
        "172.30.53.1": f"127.0.{network}.",
        "agent=agent@agent": "agent=agent@127.0.0.1",
        "svm=svm@svmd": "svm=svm@127.0.0.1",
    }
    del postgres
    host = Host(tmp_path, places, {key: claim_port(claim, None) for key in wanted})
    try:
        yield host
    finally:
        host.stop()
        claim.release()


@pytest.mark.skipif(not shutil.which("unshare"), reason="slivers need util-linux")
def test_every_role_starts_by_its_command_line_and_together_they_make_a_slice(
    services: dict[str, dict[str, Any]], host: Host
) -> None:
    for together in STARTED_TOGETHER:
        for name in together:
            host.start(name, services[name])
        for name in together:
            if name == "tokens":
                assert host.running[-1].wait(60) == 0, said(host, name)
            else:
                until(partial(host.is_healthy, name, services[name]), partial(said, host, name))
    env = {**user(host, services), "PATH": os.environ["PATH"]}
    until(lambda: len(svm(env, "getads").stdout.split()) == 3, lambda: svm(env, "getads").stderr)
    (host.folder / "lab.xml").write_text(
        "<slice><name>lab</name><numnodes>3</numnodes><leaselen>600</leaselen></slice>"
    )
    made = svm(env, "createslice", str(host.folder / "lab.xml"))
    assert made.returncode == 0, made.stderr + made.stdout
    assert made.stdout.count("Success on ") == 3
    gone = svm(env, "deleteslice", "lab")
    assert gone.returncode == 0, gone.stderr


def user(host: Host, services: dict[str, dict[str, Any]]) -> dict[str, str]:
    """An account with a certificate, made by plc's operator; the environment of its shell."""
    env = host._env("plc", services["plc"])
    settings = Settings(
        state_dir=Path(env["DSLICE_STATE_DIR"]), database_url=env["DSLICE_DATABASE_URL"], listen=env["DSLICE_LISTEN"]
    )
    with Bootstrap.open(settings) as plc:
        plc.sites(["Lab"])
        plc.accounts([Person(OWNER, "a long password", "Pat Lab", "Lab", is_pi=True)])
        plc.certify(OWNER, host.folder / "planetlab")
    shell = host._env("shell", services["shell"])
    return {**shell, "PLANETLAB_HOME": str(host.folder / "planetlab")}


def svm(env: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", "from svm.main import main; main()", *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True)


def said(host: Host, name: str) -> str:
    return f"{name}: {(host.folder / f'{name}.log').read_text()[-2000:]}"


def until(condition: Callable[[], bool], complaint: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.2)
