"""The testbed that is broken: a real `dslice up` with short intervals, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import SystemRandom
from typing import Any

import psycopg
import redis
from sqlalchemy.engine import make_url

from models.states import Queue
from testbed import control
from testbed.daemons import Layout, simulated_groups, simulated_nodes
from testbed.embedded import Postgres, Valkey
from testbed.faults import inject
from testbed.home import Home, HomeError

LAPSE = 6
"""Seconds after which the claim of a dead worker lapses: step and slack below."""
GRACE = 5
SHORT = {
    "DSLICE_STEP_SECONDS": "4",
    "DSLICE_CLAIM_SLACK_SECONDS": str(LAPSE - 4),
    "DSLICE_SWEEP_SECONDS": "1",
    "DSLICE_PUBLISH_AGAIN_SECONDS": "1",
    "DSLICE_AUTORENEW_SECONDS": "2",
    "DSLICE_RECONCILE_SECONDS": "10",
    "DSLICE_SILENT_SECONDS": "6",
    "DSLICE_CANARY_SECONDS": "5",
    "DSLICE_CLEAN_SECONDS": "3600",
    "DSLICE_STOPS_SECONDS": "2",
    "DSLICE_GRACE": str(GRACE),
    "DSLICE_SIMULATED_CALLS": "true",
}
DICE = SystemRandom()
BIN = Path(sys.executable).parent


@dataclass(slots=True)
class Counted:
    """What a case has done so far.

    Args:
        verb: under way meanwhile.
        kills: signals that ended or stopped a process, and queues wiped.
        broken: nodes made to misbehave, and records refused.
        missed: points at which a process was to die and did not.
        unmet: whether some of these points are still to come.
    """

    verb: str = ""
    kills: int = 0
    broken: int = 0
    missed: list[str] = field(default_factory=list)
    unmet: Callable[[], bool] = lambda: False


@dataclass
class Stack:
    """A testbed of simulated nodes only, in `folder`. `put_back`: how often a node got an old database, by address;
    `backs`: from when to when that took, on the monotonic clock."""

    folder: Path
    nodes: int
    workers: int = 4
    latency: int = 100
    more: dict[str, str] = field(default_factory=dict)
    counted: Counted = field(default_factory=Counted)
    put_back: Counter[str] = field(default_factory=Counter)
    backs: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def home(self) -> Home:
        return Home(self.folder / "h")

    def up(self) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSLICE_", "PLANETLAB_"))}
        self.env = {**kept, **SHORT, **self.more, "DSLICE_HOME": str(self.home.directory)}
        plan = ["--nodes", "0", "--simulated", str(self.nodes), "--workers", str(self.workers)]
        self.dslice("up", "--detach", *plan, "--latency", str(self.latency))

    def down(self) -> None:
        self.dslice("down")

    # Processes

    def ps(self) -> list[dict[str, Any]]:
        """As the supervisor has them: name, role, pid, state."""
        return list(control.ask(self.home, "ps")["processes"])

    def pid(self, name: str) -> int | None:
        found: int | None = next(row["pid"] for row in self.ps() if row["name"] == name)
        return found

    def names(self, role: str) -> list[str]:
        return [row["name"] for row in self.ps() if row["role"] == role]

    def signal(self, name: str, number: int) -> bool:
        """Send it to one of ours; False when it is not running at the moment."""
        pid = self.pid(name)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            self.counted.kills += 1
            return True
        return False

    def kill(self, name: str) -> bool:
        """kill -9; it is started again at once."""
        killed = self.signal(name, signal.SIGKILL)
        self.start(name)
        return killed

    def start(self, name: str) -> None:
        """Start it again now, if it is down, whatever the supervisor's patience is."""
        control.ask(self.home, "start", name)

    def stop(self, name: str) -> None:
        """End it; it stays down until `start`."""
        control.ask(self.home, "stop", name)
        self.counted.kills += 1

    def all_ready(self, names: Collection[str] = ()) -> bool:
        """All of these answer; of none: all that there are."""
        return all(row["state"] == "ready" for row in self.ps() if not names or row["name"] in names)

    def misbehave(self, node: str, fault: str) -> None:
        """`dslice fault`. Nothing is said when the process of that node is down just now."""
        inject(self.home, node, fault)

    def knock(self, job: str) -> None:
        """Have a worker do one of beat's jobs (`clean`, `reconcile-all`) now and not when its time comes."""
        os.environ["DSLICE_BROKER_URL"] = self.broker_url
        from workers.app import app

        app.send_task(job, queue=Queue.HOUSEKEEPING, ignore_result=True, retry=False)

    # What they keep

    def connect(self, role: str = "svm") -> psycopg.Connection[Any]:
        """To PostgreSQL, every statement a transaction of its own."""
        url = make_url(self._layout.database.url(role))
        return psycopg.connect(
            f"postgresql://{role}@/{url.database}?host={str(url.query['host']).replace('/', '%2F')}",
            autocommit=True,
            connect_timeout=5,
        )

    @cached_property
    def broker(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=self._layout.broker.socket, socket_timeout=5)

    @property
    def broker_url(self) -> str:
        return self._layout.broker.url

    def environment(self, name: str) -> dict[str, str]:
        """The settings of one of its daemons, to run another like it."""
        spec = next(spec for spec in self._layout.others() if spec.name == name)
        # Two cannot show their metrics at one address.
        return {key: value for key, value in {**self.env, **spec.env}.items() if key != "DSLICE_METRICS_LISTEN"}

    @cached_property
    def _layout(self) -> Layout:
        home = self.home
        return Layout(home, home.plan(), Postgres(home.service("database")), Valkey(home.service("broker")))

    def node_folders(self) -> Iterator[tuple[str, str, Path]]:
        """(name, address, folder) of each node."""
        addresses = {node.name: node.address for node in simulated_nodes(self.home.plan())}
        for process, nodes in simulated_groups(self.home.plan()):
            for node in nodes:
                yield node.name, addresses[node.name], self.home.service(process) / node.name

    @cached_property
    def addresses(self) -> list[str]:
        return [node.address for node in simulated_nodes(self.home.plan())]

    def secrets(self) -> list[str]:
        """What must stand in no log: passwords, enrolment tokens, the key to the slice keys."""
        found = list(json.loads((self.home.secrets / "passwords.json").read_text()).values())
        for path in self.home.secrets.iterdir():
            text = path.read_text(errors="replace").strip()
            if path.suffix != ".json" and 12 <= len(text) < 400 and "\n" not in text:
                found.append(text)
        return found

    def dslice(self, *words: str) -> None:
        """The operator's command. HomeError when it fails."""
        ended = subprocess.run(
            [str(BIN / "dslice"), *words], env=self.env, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise HomeError(f"dslice {words[0]}: {ended.stderr.strip()}")
