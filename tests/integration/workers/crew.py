"""Processes that tests start, kill and stop; this process only asks for operations, as svmd does."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from celery import Celery
from pydantic import SecretStr

from lifecycle.operations import Started, Verb
from rpc.credentials import Credentials
from tasks.delete import delete
from tasks.newtickets import newtickets
from testbed.embedded import Postgres, Valkey
from tests.integration.agent.lab import Lab
from tests.integration.tasks.farm import Farm, known_agents, settings_for, until
from tests.integration.workers.child import PRELOAD, run
from workers.app import make_app
from workers.process import Process

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(PRELOAD)


@dataclass
class Daemon:
    """One daemon that said `ready`."""

    process: ForkServerProcess
    ready: str
    log: Path

    def signal(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        self.process.join(60)
        return self.process.exitcode


@dataclass
class Crew:
    """What there is: a broker, a database, and the daemons of this test."""

    farm: Farm
    postgres: Postgres
    valkey: Valkey
    folder: Path
    environment: dict[str, str]
    app: Celery
    daemons: list[Daemon] = field(default_factory=list)

    def daemon(self, role: str, **more: str) -> Daemon:
        """Start `worker`, `beat` or `flower`, and wait until it is ready."""
        name = f"{role}{len(self.daemons)}"
        out, log = self.folder / f"{name}.out", self.folder / f"{name}.log"
        process = SERVER.Process(target=run, args=(role, {**self.environment, **more}, str(out), str(log)))
        process.start()
        self.daemons.append(Daemon(process, "", log))
        until(lambda: said(out) or not process.is_alive())
        assert said(out).startswith("ready "), log.read_text()
        self.daemons[-1].ready = said(out).split()[1]
        return self.daemons[-1]

    def tickets(self, name: str, owner: Credentials) -> None:
        """Eight of them, asked for in this process: plc's directory does not know the lab's agent."""
        started = self.farm.start(Verb.NEWTICKETS, name, owner, numnodes=8, publish=False)
        newtickets([ref.id for ref in started.publish])
        assert self.farm.ended(started.operation).ok == 8

    def leases(self, name: str, owner: Credentials, parallelism: int = 16) -> Started:
        return self.farm.start(Verb.NEWLEASES, name, owner, parallelism=parallelism)

    def clear(self) -> None:
        """Free the nodes' places for the next test; this process does the steps itself."""
        for row in self.farm.rows("SELECT name FROM svm.slice WHERE state = 'open'"):
            started = self.farm.start(Verb.DELETESLICE, row.name, self.farm.owners[row.name], publish=False)
            delete([ref.id for ref in started.publish])

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Nobody gets a connection to it meanwhile, and those that there were are cut."""
        self._admit(False)
        try:
            yield
        finally:
            self._admit(True)

    def _admit(self, anyone: bool) -> None:
        name = self.farm.database.url.database
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
        self.postgres.execute("postgres", f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {anyone}')
        self.postgres.execute("postgres", cut)

    def all_leased_once(self, name: str) -> None:
        """I1, I2, I4: each node holds one lease, the first, and the table has that one."""
        held = {one.row.address: one.node.store.lease(name) for one in self.farm.lab.population.nodes}
        rows = self.farm.rows(
            "SELECT v.node, v.generation, v.lease, v.state FROM svm.sliver v "
            "JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n",
            n=name,
        )
        assert len(rows) == 8
        for row in rows:
            lease = held[row.node]
            assert lease
            assert (row.state, row.generation, row.lease) == ("leased", 1, lease.token)
            assert lease.generation == 1


def said(out: Path) -> str:
    """The first line of a daemon's stdout, once it is whole."""
    text = out.read_text() if out.exists() else ""
    return text.partition("\n")[0] if "\n" in text else ""


@contextmanager
def gathered(lab: Lab, postgres: Postgres, url: str, valkey: Valkey, folder: Path) -> Iterator[Crew]:
    settings = settings_for(lab, url, valkey.url, folder)
    app = make_app(settings)
    process = Process(settings)
    process.start()
    process.worker_context.directory = known_agents(lab)
    environment = {
        "DSLICE_DATABASE_URL": url,
        "DSLICE_BROKER_URL": SecretStr(valkey.url).get_secret_value(),
        "DSLICE_STATE_DIR": str(settings.state_dir),
        "DSLICE_PLC_URL": lab.plc_url,
        "DSLICE_SLICE_KEY_FILE": str(settings.key_file),
        "DSLICE_WORKER_THREADS": "16",
        "DSLICE_WORKER_RESERVED": "4",
        "DSLICE_STEP_SECONDS": "3",
        "DSLICE_CLAIM_SLACK_SECONDS": "1",
        "DSLICE_SWEEP_SECONDS": "1",
        "DSLICE_PUBLISH_AGAIN_SECONDS": "1",
    }
    crew = Crew(Farm(lab, process.database, process), postgres, valkey, folder, environment, app)
    try:
        yield crew
    finally:
        for daemon in crew.daemons:
            daemon.process.kill()
            daemon.process.join()
            daemon.process.close()
        lab.run(lab.population.misbehave("all", "ok"))
        crew.clear()
        process.stop()
        app.close()


KILL, TERM, STOP, CONT = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT
