"""The testbed's folder: everything that `dslice up` writes lies in it, for its owner alone."""

import fcntl
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from rpc.files import replace_file
from testbed.embedded import reachable

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
MARK = "# A testbed of dslice; 'dslice down' before you remove it.\n*\n"

PI = "pi@testbed.example"
OTHER_PI = "pi2@testbed.example"
USER = "user@testbed.example"
NEWCOMER = "new@testbed.example"
OPERATOR = "operator@testbed.example"
ACCOUNTS = (PI, OTHER_PI, USER, NEWCOMER)
CERTIFIED = (PI, OTHER_PI, USER)  # ready from the start

_FLOCK = "hhqqi"  # struct flock of 64-bit Linux: type, whence, start, length, pid


class HomeError(Exception):
    """The folder cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a testbed consists of; kept in its home, so that the next `dslice up` finds the same nodes.

    Args:
        nodes, simulated: real nodes with slivers, and simulated ones beside them.
        workers: Celery worker processes.
        sliver: driver of the real nodes: auto, bubblewrap, unshare, podman or simulated.
        latency: answer time of simulated nodes, in milliseconds.
        network: K of the nodes' addresses, None before the first start.
        ports: of the services on 127.0.0.1, by name.
    """

    nodes: int = 8
    simulated: int = 0
    workers: int = 1
    sliver: str = "auto"
    latency: int = 0
    network: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict)

    def changed(self, **wanted: object) -> Self:
        """A copy with what is not None in `wanted`."""
        changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Home:
    """Names of everything in the folder. Nothing is made before `make`."""

    directory: Path

    @classmethod
    def find(cls, given: Path | None) -> Self:
        """`--home`, else $DSLICE_HOME, else `.dslice` in the current folder."""
        chosen = given or Path(os.environ.get("DSLICE_HOME") or ".dslice")
        return cls(chosen.absolute())

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def mail(self) -> Path:
        return self.directory / "mail"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def run(self) -> Path:
        """Sockets and pid records of the running testbed."""
        return self.directory / "run"

    @property
    def ca_file(self) -> Path:
        """The root certificate, for everyone who trusts this testbed."""
        return self.directory / "ca.pem"

    @property
    def metrics(self) -> Path:
        """Where each daemon shows its metrics: a list for Prometheus (`file_sd_configs`)."""
        return self.directory / "metrics.json"

    @property
    def images(self) -> Path:
        """What its nodes' slivers may begin as; made by `dslice image`."""
        return self.directory / "images"

    def service(self, name: str) -> Path:
        """State folder of one daemon; nodes' too."""
        return self.directory / "services" / name

    def user(self, email: str) -> Path:
        """A user's PLANETLAB_HOME."""
        return self.directory / "users" / email

    def socket(self, name: str) -> str:
        """A socket in `run`, by a name that is short enough for this process to use."""
        return str(reachable(self.run, name) / name)

    def make(self) -> None:
        """Make the folder (0700); git passes over it. HomeError when it is another's or something else."""
        try:
            for folder in (self.directory, self.logs, self.mail, self.secrets, self.run):
                folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            self.directory.chmod(PRIVATE_FOLDER)
            replace_file(self.directory / ".gitignore", MARK.encode(), 0o644)
        except OSError as error:
            raise HomeError(
                f"cannot use {self.directory}: {error.strerror}; name another folder with --home"
            ) from error

    def is_ours(self) -> bool:
        """Whether `make` made the folder: only then may it be removed."""
        marked = self.directory / ".gitignore"
        return marked.is_file() and marked.read_text(errors="replace") == MARK

    def plan(self) -> Plan:
        """The plan of the last start, or the default one."""
        try:
            return Plan(**json.loads((self.directory / "plan.json").read_text()))
        except FileNotFoundError:
            return Plan()
        except (ValueError, TypeError) as error:
            raise HomeError(f"{self.directory / 'plan.json'} is damaged: remove it, and start anew") from error

    def keep_plan(self, plan: Plan) -> None:
        """Keep it for the next start."""
        write_private(self.directory / "plan.json", json.dumps(asdict(plan), indent=1))

    def password(self, email: str) -> str:
        """The password that the first start made up for an account. HomeError when there is none."""
        try:
            found = json.loads((self.secrets / "passwords.json").read_text())[email]
        except FileNotFoundError as error:
            raise HomeError(f"no testbed in {self.directory}: start one with 'dslice up'") from error
        except KeyError as error:
            raise HomeError(f"no account {email} here; there are {', '.join(ACCOUNTS)}") from error
        return str(found)


class Lock:
    """The right to run the testbed of one home: a POSIX lock, which the kernel frees with its process.

    Forked children do not have it. Only this class may open the file, for closing it anywhere in the process lets go.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.directory / "lock"
        self._fd: int | None = None

    def take(self) -> bool:
        """Take it without waiting; False when another process has it."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Let it go."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder(self) -> int | None:
        """Pid of the other process that has it, None when nobody has."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        finally:
            os.close(fd)
        return None if kind == fcntl.F_UNLCK else int(pid)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, at once or not at all."""
    replace_file(path, text.encode(), PRIVATE_FILE)
