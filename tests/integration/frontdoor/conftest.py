"""One node's front door over real slivers, shared by the module; slices come and go."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nodemgr.access import Access
from nodemgr.frontdoor import FrontDoorServer
from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.drivers.driver import Driver, SliverSpec
from tests.integration.slivers.conftest import run_async
from trust.clock import SystemClock
from trust.sshkeys import new_ssh_key_pair, parse_public_key

SLICE = "oceanstore"
PATIENCE = 300  # seconds for a login; this machine may be busy
CONFIG = """\
Host *
    BatchMode yes
    IdentitiesOnly yes
    StrictHostKeyChecking yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 120
"""


class Table:
    """The access table as the node manager's store keeps it."""

    def __init__(self) -> None:
        self.entries: dict[str, Access] = {}

    def lookup(self, slice: str) -> Access | None:
        return self.entries.get(slice)

    def change(self, slice: str, **fields: Any) -> None:
        self.entries[slice] = dataclasses.replace(self.entries[slice], **fields)


@dataclasses.dataclass
class Node:
    """A running front door, and the key files and options with which OpenSSH reaches it."""

    folder: Path
    driver: Driver
    table: Table
    server: FrontDoorServer
    address: str
    port: int
    login: str = SLICE

    @property
    def uid(self) -> int:
        """The login's, inside: an ordinary user's where there is root beside it."""
        return 1000 if self.driver.name == "machine" else 0

    @property
    def key(self) -> Path:
        return self.folder / "user_key"

    def options(self, key: Path | None = None) -> list[str]:
        return ["-F", str(self.folder / "config"), "-i", str(key or self.key), "-o", f"Port={self.port}"]

    def ssh(self, *words: str, login: str | None = None, key: Path | None = None, **how: Any) -> Any:
        """Run the real client to its end: `words` are options, then the command."""
        flags = [word for word in words if word.startswith("-")]
        assert not flags or words[0] in flags, "options stand first"
        argv = ["ssh", *self.options(key), *self._split(words, login)]
        how = {"capture_output": True, "timeout": 60, "stdin": subprocess.DEVNULL} | how
        if "input" in how:
            del how["stdin"]
        return subprocess.run(argv, **how)

    @contextlib.contextmanager
    def start(self, *words: str, login: str | None = None, key: Path | None = None, **how: Any) -> Iterator[Any]:
        """The real client, running, all three streams piped; killed at the end if it still runs."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | how
        with subprocess.Popen(["ssh", *self.options(key), *self._split(words, login)], **pipes) as client:
            try:
                yield client
            finally:
                client.kill()

    def _split(self, words: Sequence[str], login: str | None) -> list[str]:
        flags = list(words[: next((i for i, word in enumerate(words) if word == "--"), 0)])
        command = words[len(flags) + 1 :] if flags else words
        return [*flags, f"{login or self.login}@{self.address}", *command]


def new_key(folder: Path, name: str) -> Path:
    """A key pair on disk, as a user has one."""
    private, public = new_ssh_key_pair(name)
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(private)
    path.with_suffix(".pub").write_text(public)
    return path


@pytest.fixture(scope="module", autouse=True)
def impatience() -> Iterator[None]:
    """SIGKILL follows SIGHUP sooner than for people, so that these tests need not wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nodemgr.slivers.process.session.HANGUP_SECONDS", 1)
        yield


@contextlib.contextmanager
def opened(folder: Path, driver: Driver) -> Iterator[Node]:
    """The front door of a node with this driver; slices that are added are deleted at the end."""
    table = Table()
    clock = SystemClock()
    server = FrontDoorServer(driver, table, folder / "host_key", "127.0.0.1", 0, clock, login_seconds=PATIENCE)
    address, port = server.start()
    (folder / "known_hosts").write_text(f"[{address}]:{port} {server.host_key_line}\n")
    (folder / "config").write_text(CONFIG.format(known_hosts=folder / "known_hosts"))
    made = Node(folder, driver, table, server, address, port)
    new_key(folder, "user_key")
    yield made
    server.stop()
    for slice in list(table.entries):
        run_async(driver.delete(slice))
    for thread in threading.enumerate():  # one may be at its last words
        if thread.name.startswith(("front-door", "session")):
            thread.join(10)
            assert not thread.is_alive(), thread.name


@contextlib.contextmanager
def front_door(folder: Path) -> Iterator[Node]:
    """The same with the driver of these tests, and one sliver, of `SLICE`, with the user's key in it."""
    with opened(folder, open_driver(os.environ.get("DSLICE_TEST_DRIVER", "auto"), folder / "slivers")) as made:
        add_slice(made, SLICE)
        yield made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with front_door(tmp_path_factory.mktemp("node")) as made:
        yield made


SSHD = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/sshd_key
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PidFile none
AcceptEnv LANG LC_* COLORTERM TERM GIT_PROTOCOL
Subsystem sftp internal-sftp
"""


def sshd_program() -> str:
    """Where the machine's own sshd is; without one the test is skipped."""
    program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("no sshd here to compare with; apt-get install openssh-server")
    return program


@contextlib.contextmanager
def real_sshd(node: Node) -> Iterator[Node]:
    """A real sshd on loopback, which lets the same user key in as whoever runs these tests: what users are used to."""
    program = sshd_program()
    key = new_key(node.folder, "sshd_key")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (node.folder / "sshd_config").write_text(SSHD.format(port=port, folder=node.folder))
    with (node.folder / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{port} {key.with_suffix('.pub').read_text()}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    config = ["-f", str(node.folder / "sshd_config")]
    with subprocess.Popen([program, "-D", "-e", *config], stderr=subprocess.PIPE) as daemon:
        assert daemon.stderr is not None
        assert b"listening" in daemon.stderr.readline()
        yield dataclasses.replace(node, port=port, login=getpass.getuser())
        daemon.terminate()


@pytest.fixture(scope="module")
def sshd(node: Node) -> Iterator[Node]:
    with real_sshd(node) as made:
        yield made


@pytest.fixture(params=["node", "sshd"])
def door(request: pytest.FixtureRequest) -> Node:
    """The front door, and a real sshd that must do the same."""
    made: Node = request.getfixturevalue(request.param)
    return made


@contextlib.contextmanager
def another_door(node: Node, *, login_seconds: int) -> Iterator[Node]:
    """The same node with a second front door, which gives its clients so long to log in."""
    key, known_hosts = node.folder / "host_key", node.folder / "known_hosts"
    server = FrontDoorServer(node.driver, node.table, key, "127.0.0.1", 0, SystemClock(), login_seconds=login_seconds)
    address, port = server.start()
    with known_hosts.open("a") as file:
        file.write(f"[{address}]:{port} {server.host_key_line}\n")
    try:
        yield dataclasses.replace(node, server=server, address=address, port=port)
    finally:
        server.stop()


def add_slice(node: Node, slice: str) -> Access:
    """A running sliver and its entry in the table, with the user's key in it."""
    private, public = new_ssh_key_pair(f"slice {slice}")
    slice_id = uuid.uuid4()
    spec = SliverSpec(slice, slice_id, f"{slice}-n1", 512, 200, private, public)
    run_async(node.driver.create(spec))
    key_file = node.folder / f"{slice}_slice_key"
    key_file.touch(mode=0o600)
    key_file.write_text(private)
    node.table.entries[slice] = Access(
        slice=slice,
        slice_id=slice_id,
        keys=(parse_public_key(node.key.with_suffix(".pub").read_text()),),
        slice_key=parse_public_key(public),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        peers=frozenset({(node.address, node.port)}),
    )
    return node.table.entries[slice]


@pytest.fixture
def slice_name(node: Node) -> Iterator[str]:
    """A slice of this test's own, whose access it may change."""
    name = "s" + uuid.uuid4().hex[:12]
    add_slice(node, name)
    yield name
    node.server.close_sessions(name, keys=None)
    node.table.entries.pop(name, None)
    run_async(node.driver.delete(name))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The user's own agent, with one key that is nowhere else."""
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        environment = os.environ | {"SSH_AUTH_SOCK": str(tmp_path / "agent")}
        subprocess.run(["ssh-add", "-q", str(new_key(tmp_path, "only-mine"))], env=environment, check=True)
        yield environment
        process.terminate()
