"""The daemons of an agent and of nodes, as `dslice run` starts them, ready to be started in tests."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from agent.client import AgentClient, Tickets
from plc.enrolment import Enrolment
from tests.integration.agent.lab import HOST, Lab, daemon, slice_name
from trust.identity import Identity, Role

AGENT = Identity(Role.AGENT, "second")


@dataclass
class Daemons:
    """Environments of an agent, a node manager and a process of three simulated nodes, ready to be started."""

    lab: Lab
    folder: Path
    database_url: str

    def token(self, role: Role, name: str, *addresses: str) -> str:
        (token,) = self.lab.bootstrap.tokens([Enrolment(Identity(role, name), tuple(addresses))])
        return token

    def common(self, name: str) -> dict[str, str]:
        return {"DSLICE_STATE_DIR": str(self.folder / name), "DSLICE_PLC_URL": self.lab.plc_url, "DSLICE_NAME": name}

    @contextmanager
    def started(
        self, module: str, environment: dict[str, str], *, kill: bool = False, prefix: Sequence[str] = ()
    ) -> Iterator[str]:
        """The daemon's address; `kill` ends it with SIGKILL."""
        log = self.folder / f"{module}.log"
        with daemon(module, environment, log, prefix) as (process, address):
            yield address
            if kill:
                process.kill()
                process.wait()

    def agent(self, listen: str = f"{HOST}:0", **options: Any) -> AbstractContextManager[str]:
        token = self.token(Role.AGENT, AGENT.name, HOST)
        environment = {
            **self.common(AGENT.name),
            "DSLICE_DATABASE_URL": self.database_url,
            "DSLICE_LISTEN": listen,
            "DSLICE_ENROLL_TOKEN": token,
        }
        return self.started("agent.daemon", environment, **options)

    def node(
        self, number: int = 200, *, settings: dict[str, str] | None = None, **options: Any
    ) -> AbstractContextManager[str]:
        name, address = f"d{number}", f"{self.lab.network}.{number}"
        token_file = self.folder / f"token-{name}"
        token_file.write_text(self.token(Role.NODE, name, address) + "\n")
        environment = {
            **self.common(name),
            "DSLICE_NODE_ADDRESS": address,
            "DSLICE_NODE_SITE": "Princeton",
            "DSLICE_SLIVER_DRIVER": "simulated",
            "DSLICE_AGENTS": AGENT.name,
            "DSLICE_ENROLL_TOKEN_FILE": str(token_file),
            "DSLICE_GRACE": "0",
            "DSLICE_EXPIRY_SECONDS": "0.2",
        }
        return self.started("nodemgr.daemon", environment | (settings or {}), **options)

    def simulated(self, **options: Any) -> AbstractContextManager[str]:
        rows = [
            {
                "name": f"x{number}",
                "address": f"{self.lab.network}.{number}",
                "site": "Berkeley",
                "token": self.token(Role.NODE, f"x{number}", f"{self.lab.network}.{number}"),
                "port": 0,
            }
            for number in (201, 202, 203)
        ]
        (self.folder / "nodes.json").write_text(json.dumps(rows))
        environment = {
            **self.common("simulated"),
            "DSLICE_SIMULATED_NODES": str(self.folder / "nodes.json"),
            "DSLICE_CONTROL_SOCKET": str(self.folder / "c.sock"),
            "DSLICE_AGENTS": AGENT.name,
        }
        return self.started("testbed.simulation", environment, **options)


async def ask(client: AgentClient, numnodes: int, leaselen: int = 600) -> tuple[str, Tickets]:
    name = slice_name()
    found = await client.tickets(
        slice=name, numnodes=numnodes, leaselen=leaselen, delegation=None, idempotency_key=str(uuid4())
    )
    return name, found
