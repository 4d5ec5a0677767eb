"""A real svmd (TLS, PostgreSQL) in a thread, people with certificates, and a worker whose results the test chooses."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from sqlalchemy import Engine, text

from lifecycle.outcome import Claim, Done, Failed, Granted, Record, claim
from lifecycle.record import record
from lifecycle.seal import Seal
from lifecycle.steps import StepRef
from models.database import engine
from models.states import Kind
from plc.client import PLC, AgentEntry, Directory
from rpc.blocking import Connection
from rpc.credentials import Credentials
from rpc.server import Listener, serve
from rpc.tls import server_context
from svm.main import run
from svm.service.api import create_app
from svm.service.context import KnownAgents, Service
from svm.service.watching import Watchers
from testbed.embedded import Postgres
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair
from trust.store import TrustStore

SVM = Identity(Role.SVM, "svm")
DAY = 86_400
_HOST_KEY = " ".join(new_ssh_key_pair("")[1].split()[:2])
# RSA keys take 50 ms each, and no test cares which one it has.
_USER_KEYS = [new_private_key(Role.USER) for _ in range(2)]


@dataclass
class Lab:
    """A certificate authority and everyone who has a certificate of it."""

    directory: Path
    clock: SystemClock = field(default_factory=SystemClock)
    made: int = 0
    revoked: list[tuple[int, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.authority = Authority.create(self.clock.now() - timedelta(days=30))
        self.store = TrustStore(self.authority.certificate, self.clock)
        self.revoke()

    def revoke(self, *certificates: x509.Certificate) -> None:
        """A new revocation list with these certificates."""
        self.made += 1
        now = self.clock.now()
        self.revoked += [(certificate.serial_number, now) for certificate in certificates]
        self.store.update(self.authority.sign_crl(self.revoked, number=self.made, now=now))

    def credentials(
        self,
        identity: Identity,
        *,
        pi: bool = False,
        authority: Authority | None = None,
        started: datetime | None = None,
        lifetime: int = 30 * DAY,
    ) -> Credentials:
        """Key and certificate in a folder of their own; the root there is this lab's, whoever signed."""
        self.made += 1
        user = identity.role is Role.USER
        key = _USER_KEYS[self.made % len(_USER_KEYS)] if user else new_private_key(identity.role)
        certificate = (authority or self.authority).issue(
            identity,
            key.public_key(),
            now=started or self.clock.now(),
            lifetime=lifetime,
            addresses=() if user else ("127.0.0.1",),
            pi=pi,
        )
        folder = self.directory / f"{identity.role}-{self.made}"
        folder.mkdir(mode=0o700)
        found = Credentials(folder)
        found.save(
            key_pem=key_to_pem(key),
            certificate_pem=certificate_to_pem(certificate),
            ca_pem=certificate_to_pem(self.authority.certificate),
        )
        return found

    def user(self, email: str = "pi@a.example", *, pi: bool = True) -> Credentials:
        """Somebody with a certificate."""
        return self.credentials(Identity.user(email), pi=pi)


Results = Callable[[Claim], Done | Failed]
Svm = Callable[..., int]


class Worker:
    """Does published steps at once, as `results` says, and follows up on what becomes due."""

    def __init__(self, database: Engine) -> None:
        self.database = database
        self.results: Results = succeed
        self.idle = False
        self.published: list[StepRef] = []

    def publish(self, refs: Sequence[StepRef]) -> None:
        waiting = list(refs)
        self.published += waiting
        while waiting and not self.idle:
            ids = [ref.id for ref in waiting]
            with self.database.begin() as connection:
                claims = claim(connection, ids, seconds=60)
            with self.database.begin() as connection:
                done = [Record(each, self.results(each)) for each in claims]
                waiting = record(connection, done)[1]

    def resume(self) -> None:
        """Go to work, on what was published meanwhile too."""
        self.idle = False
        self.publish(self.published)


def succeed(step: Claim) -> Done | Failed:
    """Every step does its work."""
    assert step.slice is not None
    now = SystemClock().now()
    if step.kind is Kind.NEWTICKETS:
        nodes = step.slice.ips[: step.slice.numnodes] or tuple(
            f"127.0.1.{n}" for n in range(1, step.slice.numnodes + 1)
        )
        tickets = tuple(granted(node, now + timedelta(seconds=3600)) for node in nodes)
        return Done(tickets=tickets, slice_id=uuid4(), public_key="ssh-ed25519 AAAA", sealed_key=b"sealed")
    end = now + timedelta(seconds=step.slice.leaselen)
    if step.kind is Kind.NEWLEASES:
        return Done(lease="lease", generation=1, expires_at=end)
    if step.kind is Kind.RENEW:
        assert step.sliver is not None
        assert step.sliver.expires_at is not None
        detail: dict[str, object] = {"old": step.sliver.expires_at.isoformat(), "new": end.isoformat(), "short": False}
        return Done(lease="lease2", generation=step.sliver.generation + 1, expires_at=end, detail=detail)
    if step.kind in (Kind.ADDKEY, Kind.DELKEY, Kind.NUKEKEYS):
        return Done(key_generation=step.slice.key_generation)
    return Done()


def failing(kind: Kind, failures: dict[str, Failed]) -> Results:
    """As `succeed`, but these nodes fail at this step."""

    def results(step: Claim) -> Done | Failed:
        if step.kind is kind and (step.node or "") in failures:
            return failures[step.node or ""]
        return succeed(step)

    return results


def granted(node: str, end: datetime) -> Granted:
    name = "n" + node.rpartition(".")[2]
    return Granted(node, name, f"https://{node}:1", "agent", (node, 2222, _HOST_KEY), str(uuid4()), "ticket", end)


@dataclass
class Running:
    """A running svmd."""

    lab: Lab
    service: Service
    worker: Worker
    url: str
    port: int

    def connection(self, credentials: Credentials | None) -> Connection:
        root = certificate_to_pem(self.lab.authority.certificate)
        return Connection(self.url, credentials=credentials, ca_pem=root, expect=SVM)

    def home(self, credentials: Credentials) -> Path:
        """Make the folder a key directory that knows where svmd is."""
        (credentials.directory / "config.toml").write_text('plc = "https://127.0.0.1:1"\n')
        kept = {"plc": "https://127.0.0.1:1", "svmd": self.url, "svm": SVM.uri}
        (credentials.directory / "directory.json").write_text(json.dumps(kept))
        return credentials.directory


# One svmd for nearly all tests: what each made is taken out after it.
@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="package")
def database(postgres: Postgres, svm_tables: str) -> Iterator[Engine]:
    postgres.create_database("svm_shared", template=svm_tables)
    found = engine(postgres.url("svm", "svm_shared"))
    yield found
    found.dispose()
    postgres.drop_database("svm_shared")


@pytest.fixture(scope="package")
def shared(lab: Lab, database: Engine) -> Iterator[Running]:
    with running(lab, database) as found:
        yield found


@pytest.fixture
def svmd(shared: Running, emptied: None) -> Running:
    """svmd with no slices, no agent and a worker that succeeds at everything."""
    del emptied
    shared.lab.revoke()  # a new list: on a busy machine all tests together take longer than one counts as fresh
    shared.worker.results, shared.worker.idle, shared.worker.published = succeed, False, []
    return shared


@pytest.fixture
def emptied(database: Engine) -> Iterator[None]:
    """Takes out what a test leaves."""
    yield
    with database.begin() as connection:
        connection.execute(text("DELETE FROM svm.operation"))
        connection.execute(text("DELETE FROM svm.slice"))


@pytest.fixture
def home(svmd: Running, lab: Lab) -> Path:
    """The key directory of a PI."""
    return svmd.home(lab.user())


@pytest.fixture
def svm(home: Path, monkeypatch: pytest.MonkeyPatch) -> Svm:
    """`svm` as that PI."""
    monkeypatch.setenv("PLANETLAB_HOME", str(home))
    return lambda *words: run([str(word) for word in words])


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The file of a slice of three nodes."""
    return slice_file(tmp_path / "demo.xml", 3)


def slice_file(path: Path, numnodes: int, ips: str = "") -> Path:
    listed = f"<ips>{ips}</ips>" if ips else ""
    path.write_text(
        f"<slice><name>demo</name><numnodes>{numnodes}</numnodes><leaselen>86400</leaselen>{listed}</slice>"
    )
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """An SSH public key."""
    path = tmp_path / "my key.pub"
    path.write_text(new_ssh_key_pair("me@home")[1] + "\n")
    return path


def expire(database: Engine) -> None:
    """Time passes: every lease and ticket has ended."""
    with database.begin() as connection:
        connection.execute(text("UPDATE svm.sliver SET expires_at = now() - interval '1 second'"))


def svm_process(home: Path, *words: object) -> "subprocess.Popen[str]":
    """`svm` in a process of its own."""
    argv = [sys.executable, "-c", "from svm.main import main; main()", *map(str, words)]
    environment = {**os.environ, "PLANETLAB_HOME": str(home)}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def following(svmd: Running, home: Path, *words: object) -> "subprocess.Popen[str]":
    """`svm` in a process of its own that asked for an operation and follows it now."""
    before = set(svmd.service.watchers.watched)
    child = svm_process(home, *words)
    while child.poll() is None and not svmd.service.watchers.watched - before:
        time.sleep(0.01)
    return child


@contextmanager
def running(
    lab: Lab, database: Engine, agents: tuple[AgentEntry, ...] = (), *, port: int = 0, **more: Any
) -> Iterator[Running]:
    """svmd in a thread of its own, until the end of the block."""
    credentials = lab.credentials(SVM)
    worker = Worker(database)
    service = Service(
        identity=SVM,
        credentials=credentials,
        store=lab.store,
        engine=database,
        publish=worker.publish,
        watchers=Watchers(),
        agents=KnownAgents(lambda: Directory(PLC, "", None, SVM, agents)),
        seal=Seal(bytes(32)),
        **more,
    )
    listener = Listener(create_app(service), "127.0.0.1", port, server_context(credentials), "svmd")
    with served(listener) as address:
        yield Running(lab, service, worker, f"https://{address[0]}:{address[1]}", address[1])


@contextmanager
def served(listener: Listener) -> Iterator[tuple[str, int]]:
    """One listener in a thread of its own; its address."""
    started = threading.Event()
    state: dict[str, object] = {}

    async def go() -> None:
        stop = asyncio.Event()
        state["end"] = lambda loop=asyncio.get_running_loop(): loop.call_soon_threadsafe(stop.set)

        def ready(addresses: list[tuple[str, int]]) -> None:
            state["address"] = addresses[0]
            started.set()

        await serve([listener], ready=ready, stop=stop)

    def main() -> None:
        try:
            asyncio.run(go())
        finally:
            started.set()

    thread = threading.Thread(target=main)
    thread.start()
    started.wait()
    try:
        address = state["address"]
        assert isinstance(address, tuple)
        yield address
    finally:
        end = state.get("end")
        if callable(end):
            end()
        thread.join()
