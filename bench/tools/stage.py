"""A testbed of one benchmark: started, used by its first PI, ended."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine

from models.database import engine
from plc.client import Plc
from plc.client.values import AgentEntry
from rpc.credentials import Credentials
from testbed.daemons import OURS, simulated_groups
from testbed.embedded import Postgres
from testbed.home import PI, Home
from testbed.shell import programs, settings
from testbed.simulation.control import set_fault


@dataclass(frozen=True)
class Stage:
    """A running testbed.

    Args:
        variables: the environment of its PI.
        seconds: that `dslice up` took.
    """

    home: Home
    variables: Mapping[str, str]
    seconds: float

    @cached_property
    def credentials(self) -> Credentials:
        return Credentials(self.home.user(PI))

    @cached_property
    def agent(self) -> AgentEntry:
        """The one agent, as plc's directory has it."""
        plc = Plc(self.variables["DSLICE_PLC_URL"], self.credentials)
        found = plc.directory().agents[0]
        plc.close()
        return found

    def database(self) -> Engine:
        """The service manager's; whoever asks for it disposes of it."""
        return engine(Postgres(self.home.service("database")).url("svm"))

    def svm(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of the PI's."""
        argv = [str(programs() / "svm"), *words]
        done = subprocess.run(argv, env=self.variables, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"svm {' '.join(words)}: {done.stderr[-500:]}"
        return done

    def slow(self, milliseconds: int) -> None:
        """Have each simulated node answer so much later from now on."""
        fault = f"slow={milliseconds / 1000}" if milliseconds else "ok"
        for group, _ in simulated_groups(self.home.plan()):
            set_fault(self.home.socket(f"{group}.sock"), "all", fault)

    def slice_file(self, name: str, nodes: int) -> Path:
        """An XML file for createslice."""
        file = self.home.directory / f"{name}.xml"
        file.write_text(f"<slice><name>{name}</name><numnodes>{nodes}</numnodes><leaselen>3600</leaselen></slice>")
        return file


@contextmanager
def testbed(folder: str | Path, *options: str) -> Iterator[Stage]:
    """A testbed in `folder` with such nodes (options of `dslice up`)."""
    home = Home(Path(folder))
    dslice, here = [str(Path(sys.executable).with_name("dslice"))], ["--home", str(home.directory)]
    began = time.perf_counter()
    done = subprocess.run([*dslice, "up", *here, *options, "--detach"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    seconds = time.perf_counter() - began
    outside = {name: value for name, value in os.environ.items() if name not in OURS}
    try:
        yield Stage(home, {**outside, **settings(home, PI)}, seconds)
    finally:
        subprocess.run([*dslice, "down", *here], check=True, capture_output=True)
