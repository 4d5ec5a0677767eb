"""Processes that tests start, kill and stop; this process only asks for operations, as svmd does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from celery import Celery
from pydantic import SecretStr

from models.database import migrate
from models.operations import Started, Verb
from rpc.credentials import Credentials
from tasks.delete import delete
from tasks.newtickets import newtickets
from testbed.embedded import Postgres, Valkey
from tests.integration.agent.lab import Lab
from tests.integration.tasks.farm import Farm, known_agents, settings_for
from workers.app import make_app
from workers.process import Process


@dataclass
class Daemon:
    """One daemon that said `ready`."""

    process: subprocess.Popen[str]
    ready: str
    log: Path
    reader: Thread

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        self.reader.join(60)
        return self.process.wait(1)


@dataclass
class Crew:
    """What there is: a broker, a database, and the daemons of this test."""

    farm: Farm
    valkey: Valkey
    folder: Path
    environment: dict[str, str]
    app: Celery
    daemons: list[Daemon] = field(default_factory=list)

    def daemon(self, role: str, **more: str) -> Daemon:
        """Start `worker`, `beat` or `flower`, and wait until it is ready."""
        log = self.folder / f"{role}{len(self.daemons)}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DSLICE_")}
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", f"from workers.daemon import main_{role}; main_{role}()"],
                env={**clean, **self.environment, **more},
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        assert process.stdout
        line = process.stdout.readline()
        if not line.startswith("ready "):
            process.communicate()
            raise AssertionError(log.read_text())
        # Celery says goodbye on stdout; a full pipe would stop it.
        reader = Thread(target=process.communicate)
        reader.start()
        self.daemons.append(Daemon(process, line.split()[1], log, reader))
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


@contextmanager
def gathered(lab: Lab, postgres: Postgres, valkey: Valkey, folder: Path) -> Iterator[Crew]:
    name = f"crew_{folder.name.replace('-', '_')}"[:60]
    postgres.create_database(name)
    url = postgres.url("svm", name)
    migrate(url, "svm")
    settings = settings_for(lab, url, valkey.url, folder)
    app = make_app(settings)
    process = Process(settings)
    process.start()
    process.workshop.ask_directory = known_agents(lab)
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
    crew = Crew(Farm(lab, process.database, process), valkey, folder, environment, app)
    try:
        yield crew
    finally:
        for daemon in crew.daemons:
            daemon.process.kill()
            daemon.reader.join()
        lab.run(lab.population.misbehave("all", "ok"))
        crew.clear()
        process.stop()
        app.close()
        postgres.drop_database(name)


KILL, TERM, STOP, CONT = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT
