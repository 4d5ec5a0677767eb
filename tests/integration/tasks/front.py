"""svmd before a farm, and somebody who types what svm tells him to type."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rpc.credentials import Credentials
from rpc.server import Listener
from rpc.tls import server_context
from svm.main import run
from svm.service.api import create_app
from svm.service.context import KnownAgents, Service
from svm.service.watching import Watchers
from tasks.publish import publish
from tests.integration.agent.lab import SVM
from tests.integration.svm.conftest import served
from tests.integration.tasks.farm import Farm, known_agents

# A command as messages have it: a verb, and words that are no prose.
_COMMAND = re.compile(r"\bsvm ((?:-[pt] \d+ )*[a-z-]+(?: (?:slice\d+|FILE|KEYFILE|on|--replace|[\d.]+\d))*)")


@contextmanager
def fronting(farm: Farm) -> Iterator[str]:
    """svmd's URL, until the end of the block."""
    lab = farm.lab
    service = Service(
        identity=SVM,
        credentials=lab.svm_credentials,
        store=lab.trust,
        engine=farm.database,
        publish=publish,
        watchers=Watchers(),
        agents=KnownAgents(known_agents(lab)),
        seal=farm.process.worker_context.seal,
    )
    listener = Listener(create_app(service), "127.0.0.1", 0, server_context(lab.svm_credentials), "svmd")
    with served(listener) as (address, port):
        yield f"https://{address}:{port}"


@dataclass
class Said:
    """What a command ended with."""

    status: int
    out: str
    err: str

    def commands(self, near: str = "") -> list[list[str]]:
        """The commands of svm that stand on lines with `near`, as words."""
        lines = [line for line in (self.out + self.err).splitlines() if near in line]
        assert lines, f"nothing says {near!r}:\n{self.out}{self.err}"
        return [found.split() for line in lines for found in _COMMAND.findall(line)]


@dataclass
class Typist:
    """A user with a slice, its file, a key, and nothing but the command line."""

    farm: Farm
    owner: Credentials
    name: str
    file: Path
    key: Path
    capsys: pytest.CaptureFixture[str]

    def svm(self, *words: str) -> Said:
        given = {"FILE": str(self.file), "KEYFILE": str(self.key)}
        self.capsys.readouterr()
        self.farm.owners[self.name] = self.owner
        status = run(["-t", "2", *(given.get(word, word) for word in words)])
        return Said(status, *self.capsys.readouterr())

    def write_file(self, numnodes: int = 3, leaselen: int = 3600) -> None:
        wanted = f"<name>{self.name}</name><numnodes>{numnodes}</numnodes><leaselen>{leaselen}</leaselen>"
        self.file.write_text(f"<slice>{wanted}</slice>")

    def doctor(self) -> list[str]:
        """Its lines about the slice."""
        return [line for line in self.svm("doctor").out.splitlines() if f"slice {self.name}," in line]

    def is_well(self) -> bool:
        """By doctor and by status, which must agree."""
        lines = self.doctor()
        told = json.loads(self.svm("--json", "status", self.name).out.splitlines()[0])
        well = all(line.startswith("ok ") for line in lines)
        assert lines
        assert bool(told["ok"]) is well, (lines, told["worries"])
        return well

    def cure(self, near: str) -> list[list[str]]:
        """Type what doctor tells on its line with `near`; the commands."""
        commands = self.svm("doctor").commands(near)
        assert commands, f"no cure on the line of {near!r}"
        for words in commands:
            said = self.svm(*words)
            assert said.status == 0, (words, said)
        return commands


def settings_of(home: Path, plc_url: str, svmd_url: str) -> None:
    """Make the folder a key directory that knows where plc and svmd are."""
    (home / "config.toml").write_text(f'plc = "{plc_url}"\n')
    kept = {"plc": plc_url, "svmd": svmd_url, "svm": SVM.uri}
    (home / "directory.json").write_text(json.dumps(kept))
