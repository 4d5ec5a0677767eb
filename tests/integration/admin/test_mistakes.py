"""What an operator may get wrong, and the one line that says so: daemons start as the command line starts them."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from admin.main import main
from testbed.embedded import Postgres

DSLICE = str(Path(sys.executable).with_name("dslice"))
MOST = 60  # seconds that a daemon may take to say what is wrong, on a busy machine


@dataclass(frozen=True)
class Mistake:
    """What is set (`{…}`: see `places`), and what is said of it. `without`: variables that are not set."""

    role: str
    said: str
    environment: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()


BASE = {
    "DSLICE_STATE_DIR": "{state}",
    "DSLICE_DATABASE_URL": "{database}",
    "DSLICE_LISTEN": "127.0.0.1:0",
    "DSLICE_PLC_URL": "https://127.0.0.1:{free}",
    "DSLICE_BROKER_URL": "redis://127.0.0.1:{free}/0",
    "DSLICE_FLOWER_AUTH": "operator:secret",
    "DSLICE_NAME": "n1",
    "DSLICE_NODE_ADDRESS": "127.0.0.1",
}
ROLES_SH = "(deploy/lab/roles.sh makes roles, schemas and database)"
NO_DATABASE = f"correct DSLICE_DATABASE_URL {ROLES_SH}"
SAYS_WHAT = "docs/operating.md, Settings, says what to give"
URL = "postgresql+psycopg://plc:secret@"
TOKEN = f"dslice-node-n1-{'a' * 26}-{'0' * 64}"

MISTAKES = {
    "nothing set, plc": Mistake(
        "plc", f"DSLICE_STATE_DIR and DSLICE_DATABASE_URL are not set: {SAYS_WHAT}", {}, (*BASE,)
    ),
    "nothing set, node": Mistake(
        "nodemgr",
        f"DSLICE_STATE_DIR, DSLICE_PLC_URL, DSLICE_NAME and DSLICE_NODE_ADDRESS are not set: {SAYS_WHAT}",
        {},
        (*BASE,),
    ),
    "nothing set, worker": Mistake(
        "worker",
        f"DSLICE_DATABASE_URL, DSLICE_BROKER_URL, DSLICE_STATE_DIR and DSLICE_PLC_URL are not set: {SAYS_WHAT}",
        {},
        (*BASE,),
    ),
    "nothing set, beat": Mistake("beat", f"DSLICE_BROKER_URL is not set: {SAYS_WHAT}", {}, (*BASE,)),
    "nothing set, Flower": Mistake(
        "flower", f"DSLICE_BROKER_URL and DSLICE_FLOWER_AUTH are not set: {SAYS_WHAT}", {}, (*BASE,)
    ),
    "a password without a user": Mistake(
        "flower", "DSLICE_FLOWER_AUTH must be user:password", {"DSLICE_FLOWER_AUTH": "secret"}
    ),
    "a URL of something else": Mistake(
        "plc",
        "setting DSLICE_DATABASE_URL: not postgresql://ROLE:PASSWORD@HOST/DATABASE",
        {"DSLICE_DATABASE_URL": "mysql://plc:secret@127.0.0.1/dslice"},
    ),
    "no PostgreSQL there": Mistake(
        "plc",
        f"port {{free}} failed: Connection refused; {NO_DATABASE}",
        {"DSLICE_DATABASE_URL": URL + "127.0.0.1:{free}/x"},
    ),
    "no such host": Mistake("plc", NO_DATABASE, {"DSLICE_DATABASE_URL": URL + "nowhere.invalid/x"}),
    "no such database": Mistake(
        "plc", f'FATAL: database "absent" does not exist; {NO_DATABASE}', {"DSLICE_DATABASE_URL": "{absent}"}
    ),
    "no such role": Mistake("plc", NO_DATABASE, {"DSLICE_DATABASE_URL": "{nobody}"}),
    "another service's role": Mistake(
        "plc",
        f"permission denied for schema plc: the role in DSLICE_DATABASE_URL must own schema plc {ROLES_SH}",
        {"DSLICE_DATABASE_URL": "{other}"},
    ),
    "a newer version's tables": Mistake(
        "plc",
        "schema plc was made by a newer version of dslice (Can't locate revision identified by 'plc_9999'):"
        " install that one",
        {"DSLICE_DATABASE_URL": "{newer}"},
    ),
    "an address in use": Mistake(
        "plc",
        "127.0.0.1:{taken} is in use by PROGRAM: end what has it, or set DSLICE_LISTEN to another HOST:PORT",
        {"DSLICE_LISTEN": "127.0.0.1:{taken}"},
    ),
    "Flower's address in use": Mistake(
        "flower",
        "127.0.0.1:{taken} is in use by PROGRAM: end what has it, or set DSLICE_FLOWER_LISTEN to another HOST:PORT",
        {"DSLICE_FLOWER_LISTEN": "127.0.0.1:{taken}"},
    ),
    "another machine's address": Mistake(
        "plc",
        "192.0.2.1 is not an address of this machine: correct DSLICE_LISTEN",
        {"DSLICE_LISTEN": "192.0.2.1:7443"},
    ),
    "no port": Mistake(
        "plc", "setting DSLICE_LISTEN: 'plc.example' is not host:port", {"DSLICE_LISTEN": "plc.example"}
    ),
    "a file for a folder": Mistake(
        "plc",
        "cannot use {file}: File exists; correct DSLICE_STATE_DIR or its rights",
        {"DSLICE_STATE_DIR": "{file}"},
    ),
    "plc's URL without https": Mistake(
        "agent",
        "setting DSLICE_PLC_URL: 'http://plc.example:7443' is not https://HOST:PORT",
        {"DSLICE_PLC_URL": "http://plc.example:7443"},
    ),
    "no token": Mistake(
        "agent",
        "spiffe://planet-lab/agent/n1 has no valid certificate in {state}: get a token on plc's machine with"
        " 'dslice plc token agent n1 ADDRESS'",
        {"DSLICE_DATABASE_URL": "{agent}"},
    ),
    "half a token": Mistake(
        "nodemgr",
        "this is not an enrolment token; copy the whole line of dslice plc token",
        {"DSLICE_ENROLL_TOKEN": "dslice-"},
    ),
    "another's token": Mistake(
        "nodemgr",
        "this token is for spiffe://planet-lab/node/n2, not for spiffe://planet-lab/node/n1",
        {"DSLICE_ENROLL_TOKEN": TOKEN.replace("n1", "n2")},
    ),
    "a token's file that is not there": Mistake(
        "nodemgr",
        "DSLICE_ENROLL_TOKEN_FILE names {state}/token, which is not there",
        {"DSLICE_ENROLL_TOKEN_FILE": "{state}/token"},
    ),
    "no plc at its URL": Mistake(
        "nodemgr",
        "127.0.0.1:{free} does not answer (Connection refused); try again later, or correct DSLICE_PLC_URL"
        " (https://127.0.0.1:{free})",
        {"DSLICE_ENROLL_TOKEN": TOKEN},
    ),
    "something else at plc's URL": Mistake(
        "nodemgr",
        "127.0.0.1:{plain} does not answer (no TLS 1.3 there); try again later, or correct DSLICE_PLC_URL"
        " (https://127.0.0.1:{plain})",
        {"DSLICE_ENROLL_TOKEN": TOKEN, "DSLICE_PLC_URL": "https://127.0.0.1:{plain}"},
    ),
    "a folder that others may write to": Mistake(
        "plc",
        "others may write to DSLICE_STATE_DIR, {open} (mode 777): chmod 700 {open}",
        {"DSLICE_STATE_DIR": "{open}"},
    ),
    "a name for a node's address": Mistake(
        "nodemgr",
        "setting DSLICE_NODE_ADDRESS: 'n1.example' is not an IP address",
        {"DSLICE_NODE_ADDRESS": "n1.example"},
    ),
    "a broker of another kind": Mistake(
        "beat", "setting DSLICE_BROKER_URL: not redis://HOST:PORT/NUMBER", {"DSLICE_BROKER_URL": "amqp://127.0.0.1"}
    ),
    "no such file of settings": Mistake(
        "plc", "DSLICE_CONFIG names {state}/plc.toml, which is not there", {"DSLICE_CONFIG": "{state}/plc.toml"}
    ),
    "a word that is misspelt": Mistake(
        "plc",
        "nothing reads DSLICE_DATABSE_URL: is DSLICE_DATABASE_URL meant?",
        {"DSLICE_DATABSE_URL": "x", "DSLICE_LISTEN": ":"},
    ),
}


@pytest.fixture(scope="module")
def newer(postgres: Postgres) -> Iterator[str]:
    """A database that a newer version has made; everybody leaves it as it is."""
    postgres.create_database("newer")
    url = postgres.url("plc", "newer")
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE plc.alembic_version AS SELECT 'plc_9999' AS version_num")
    yield url
    postgres.drop_database("newer")


@pytest.fixture
def places(
    postgres: Postgres, newer: str, fresh_database: Callable[..., str], tmp_path: Path
) -> Iterator[dict[str, str]]:
    """What stands for the names in braces."""
    file, opened = tmp_path / "file", tmp_path / "open"
    file.touch()
    opened.mkdir()
    opened.chmod(0o777)
    own = fresh_database("plc")
    name = own.partition("?")[0].rpartition("/")[2]
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free, plain_server() as plain:
        free.bind(("127.0.0.1", 0))  # and does not listen
        yield {
            "state": str(tmp_path / "state"),
            "file": str(file),
            "open": str(opened),
            "plain": str(plain),
            "nobody": own.replace("//plc", "//nobody"),
            "database": own,
            "absent": postgres.url("plc", "absent"),
            "other": postgres.url("svm", name),
            "agent": postgres.url("agent", name),
            "newer": newer,
            "taken": str(taken.getsockname()[1]),
            "free": str(free.getsockname()[1]),
        }


@contextmanager
def plain_server() -> Iterator[int]:
    """The port of a web server without TLS."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        serving = Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_one_line_says_what_is_wrong(mistake: Mistake, places: dict[str, str], tmp_path: Path) -> None:
    environment = {name: value for name, value in BASE.items() if name not in mistake.without}
    told = {name: value.format(**places) for name, value in {**environment, **mistake.environment}.items()}
    said, status = started(mistake.role, told, tmp_path / "said")
    named = re.sub(r"in use by \S+ \(pid \d+\)", "in use by PROGRAM", said)
    lines = [line for line in named.splitlines() if not line.startswith("{")]
    assert status == 1, said
    assert any(mistake.said.format(**places) in line for line in lines), said
    assert len(lines) == 1 + (mistake.role == "plc" and "DSLICE_DATABSE_URL" in told), said
    assert "Traceback" not in said
    assert "secret" not in said


def started(role: str, environment: Mapping[str, str], said: Path) -> tuple[str, int | None]:
    """What `dslice run ROLE` says on stderr, and its exit status: in a fork, which has its modules already."""
    process = get_context("fork").Process(target=_run, args=(role, environment, said))
    process.start()
    process.join(MOST)
    if process.is_alive():
        process.kill()
    process.join()
    return said.read_text(), process.exitcode


def _run(role: str, environment: Mapping[str, str], said: Path) -> None:
    handle = os.open(said, os.O_CREAT | os.O_WRONLY)
    os.dup2(handle, 2)
    for name in [name for name in os.environ if name.startswith("DSLICE_")]:
        del os.environ[name]
    os.environ.update(environment)
    main(["run", role])


def test_verbs_before_the_first_start(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """plc's verbs need its tables; what the message names makes them."""
    for name in ("DSLICE_STATE_DIR", "DSLICE_DATABASE_URL", "DSLICE_LISTEN"):
        monkeypatch.setenv(name, BASE[name].format(**places))
    monkeypatch.delenv("DSLICE_PLC_URL", raising=False)
    assert asked("plc", "add-site", "Kansas") == 2
    assert "schema plc has no tables yet: dslice run plc makes them at its start" in capsys.readouterr().err
    daemon = subprocess.Popen([DSLICE, "run", "plc"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline().startswith(b"ready ")
    finally:
        daemon.terminate()
        daemon.communicate()
    assert asked("plc", "add-site", "Kansas") == 0


def asked(*words: str) -> int:
    """The exit status of `dslice WORDS`."""
    try:
        main.main(list(words), prog_name="dslice")
    except SystemExit as end:
        return int(end.code or 0)
    return 0
