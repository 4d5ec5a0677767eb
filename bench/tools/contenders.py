"""Who makes a slice in `bench/createslice.py`: limit, 2003 and svm; each a program, timed from start to exit."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from agent.client import delegation_header
from bench.tools import processes
from bench.tools.stage import Stage
from nodemgr.client import NodeClient
from rpc.aio import Session
from testbed.embedded import Postgres
from testbed.shell import programs
from trust.documents import sign_delegation, working_delegation
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

CONTENDERS = ("limit", "2003", "svm")
MODULES = {"limit": "bench.tools.limit", "2003": "bench.tools.threads"}
TOLD = 2  # seconds within which the agent has heard of the last change
REMOVING = 64  # deletions side by side
NODE_P99 = """
    SELECT extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY v.ended_at - l.published_at))
    FROM svm.step v JOIN svm.step l USING (operation, node) JOIN svm.operation o ON o.id = operation
    WHERE v.kind = 'newvms' AND l.kind = 'newleases' AND o.slice_name = %s"""


class FailedError(Exception):
    """A contender did not make its slice."""


@dataclass(frozen=True, slots=True)
class Case:
    """Nodes of a slice, milliseconds that each takes to answer, and how many are called at once (-p)."""

    nodes: int
    latency: int
    window: int

    def __str__(self) -> str:
        return f"{self.nodes}, {self.latency} ms, {self.window}"


@dataclass(frozen=True, slots=True)
class Run:
    """One slice made by one contender.

    Args:
        cpu: milliseconds of each part, without what it takes at rest.
        memory: MiB of each part: the peak of the one process, or for many what they have at the end.
        p99: seconds of the slowest node in a hundred, from the release of its step until it runs; svm only.
    """

    contender: str
    nodes: int
    latency: int
    window: int
    seconds: float
    cpu: Mapping[str, float]
    memory: Mapping[str, float]
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Arena:
    """A testbed whose processes are counted; `rest` is the CPU of each part at rest, milliseconds a second."""

    stage: Stage
    pids: Mapping[str, Sequence[int]]
    rest: Mapping[str, float]

    @classmethod
    def of(cls, stage: Stage, seconds: float) -> "Arena":
        """Looks at a testbed at rest for so long."""
        pids = processes.parts(stage.home)
        before, began = processes.cpu(pids), time.perf_counter()
        time.sleep(seconds)
        after, took = processes.cpu(pids), time.perf_counter() - began
        return cls(stage, pids, {part: (after[part] - before[part]) / took for part in before})

    def run(self, contender: str, case: Case) -> Run:
        """One slice, made and removed again. FailedError."""
        name = f"b{uuid4().hex[:12]}"
        argv, asked = self._program(contender, case, name)
        processes.forget_peaks(self.pids)
        before, began = processes.cpu(self.pids), time.perf_counter()
        answer, seconds, client = _finished(argv, asked, self.stage.variables)
        time.sleep(TOLD)
        after, took = processes.cpu(self.pids), time.perf_counter() - began
        spent = {part: max(0.0, after[part] - before[part] - self.rest[part] * took) for part in before}
        p99 = self._node_p99(name) if contender == "svm" else None
        memory = self._memory()
        self._remove(name, case, json.loads(answer) if asked else None)
        cpu = {processes.CLIENT: client, **spent}
        return Run(contender, case.nodes, case.latency, case.window, seconds, cpu, memory, p99)

    def _program(self, contender: str, case: Case, name: str) -> tuple[list[str], str]:
        """Its command line and stdin."""
        if contender == "svm":
            file = self.stage.slice_file(name, case.nodes)
            return [str(programs() / "svm"), "-p", str(case.window), "createslice", str(file)], ""
        return [sys.executable, "-m", MODULES[contender]], json.dumps(task(self.stage, case, name))

    def _remove(self, name: str, case: Case, given: Mapping[str, Any] | None) -> None:
        if given is None:
            self.stage.svm("-p", str(min(case.window, 512)), "deleteslice", name)
        else:
            asyncio.run(removed(self.stage, name, given))
        time.sleep(TOLD)

    def _node_p99(self, name: str) -> float:
        address = Postgres(self.stage.home.service("database")).url("svm").replace("+psycopg", "")
        with psycopg.connect(address) as connection:
            row = connection.execute(NODE_P99, (name,)).fetchone()
        return float(row[0]) if row and row[0] is not None else 0.0

    def _memory(self) -> dict[str, float]:
        many = {part: pids for part, pids in self.pids.items() if part in ("PostgreSQL", "nodes")}
        one = {part: processes.peak(pids) for part, pids in self.pids.items() if part not in many}
        return {**one, **processes.memory(many)}


def task(stage: Stage, case: Case, name: str) -> dict[str, Any]:
    """What `bench/tools/limit.py` and its like are to do; the owner's signature for the agent is made here."""
    mine, agent = stage.credentials, stage.agent
    private, public = new_ssh_key_pair(name)
    signed = working_delegation(mine.identity, agent.identity, name, mine.certificate, datetime.now(UTC))
    header = delegation_header(sign_delegation(signed, mine.key, mine.certificate))
    return {
        "ca": str(mine.directory / "ca.pem"),
        "certificate": str(mine.directory / "cert.pem"),
        "key": str(mine.directory / "key.pem"),
        "agent": agent.url.rstrip("/"),
        "headers": {**header, "Idempotency-Key": str(uuid4())},
        "wanted": {"slice": name, "numnodes": case.nodes, "leaselen": 3600, "ips": [], "exclude": []},
        "pair": {"private_key": private, "public_key": public, "pair_generation": 0},
        "window": case.window,
    }


async def removed(stage: Stage, name: str, given: Mapping[str, Any]) -> None:
    """Each of its slivers, as it was made: by its owner."""
    window = asyncio.Semaphore(REMOVING)
    async with Session(stage.credentials) as session:

        async def remove(promise: Mapping[str, Any]) -> None:
            async with window:
                node = NodeClient(session, promise["api"], Identity(Role.NODE, promise["node"]))
                await node.delete(name, UUID(given["slice_id"]), None, None)

        await asyncio.gather(*map(remove, given["tickets"]))


def _finished(argv: list[str], asked: str, variables: Mapping[str, str]) -> tuple[str, float, float]:
    """Its stdout, the seconds it took, and its CPU in milliseconds."""
    environment = {**variables, "PYTHONPATH": str(Path(__file__).parents[2])}
    began = time.perf_counter()
    command = subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdin is not None
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdin.write(asked)
    command.stdin.close()
    answer = command.stdout.read()
    said = command.stderr.read()
    _, status, used = os.wait4(command.pid, 0)
    seconds = time.perf_counter() - began
    command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        raise FailedError(said.strip().splitlines()[-1][-300:] if said.strip() else f"exit status {command.returncode}")
    return answer, seconds, (used.ru_utime + used.ru_stime) * 1000
