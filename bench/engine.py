"""Nodes a second of createslice: the whole engine against bare asyncio without queue or database = 1.0.

Both redeem a ticket and make a VM on each simulated node of one testbed, with as many in flight; measured from the
moment when the tickets are there. The baseline keeps nothing: whatever dies, its work is lost.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from agent.client import AgentClient, Promise
from models.database import engine
from nodemgr.client import NodeClient
from plc.client import Plc
from rpc.aio import Session
from rpc.credentials import Credentials
from testbed.embedded import Postgres
from testbed.home import PI, Home
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

NODES = 128
IN_FLIGHT = 64
ROUNDS = 3
LATENCY = 20  # milliseconds that each simulated node takes to answer


def main() -> None:
    nodes = ("--nodes", "0", "--simulated", str(NODES), "--latency", str(LATENCY))
    with tempfile.TemporaryDirectory() as folder, testbed(Home(Path(folder)), *nodes) as variables:
        home = Home(Path(folder))
        bare, whole = [], []
        for number in range(ROUNDS):  # in turns, so that other load on the machine hits both
            bare.append(asyncio.run(by_asyncio(home, variables, f"bare{number}")))
            whole.append(by_engine(home, variables, f"whole{number}"))
    base, found = statistics.median(bare), statistics.median(whole)
    print(f"  {NODES} simulated nodes, {LATENCY} ms each, {IN_FLIGHT} in flight, one worker, median of {ROUNDS}")
    print(f"  bare asyncio {NODES / base:7.1f} nodes/s   1.0")
    print(f"  the engine   {NODES / found:7.1f} nodes/s   {found / base:.2f} times as long")


async def by_asyncio(home: Home, variables: Mapping[str, str], name: str) -> float:
    """Seconds from the tickets to the last VM: two calls a node, nothing else."""
    credentials = Credentials(home.user(PI))
    plc = Plc(variables["DSLICE_PLC_URL"], credentials)
    entry = plc.directory().agents[0]
    plc.close()
    private, public = new_ssh_key_pair(name)
    async with Session(credentials) as session:
        client = AgentClient(session, entry.url, entry.identity)
        tickets = await client.tickets(
            slice=name, numnodes=NODES, leaselen=3600, delegation=None, idempotency_key=str(uuid4())
        )
        window = asyncio.Semaphore(IN_FLIGHT)

        async def make(promise: Promise) -> NodeClient:
            async with window:
                node = NodeClient(session, promise.api, Identity(Role.NODE, promise.node))
                lease = await node.redeem(promise.token, None)
                await node.create(name, lease.token, private, public, None)
                return node

        began = time.perf_counter()
        nodes = await asyncio.gather(*(make(promise) for promise in tickets.promises))
        took = time.perf_counter() - began
        await asyncio.gather(*(node.delete(name, tickets.slice_id, None, None) for node in nodes))
    return took


def by_engine(home: Home, variables: Mapping[str, str], name: str) -> float:
    """The same by `svm createslice`; seconds as the history has them."""
    file = home.directory / f"{name}.xml"
    file.write_text(f"<slice><name>{name}</name><numnodes>{NODES}</numnodes><leaselen>3600</leaselen></slice>")
    svm = [str(Path(sys.executable).with_name("svm")), "-p", str(IN_FLIGHT)]
    made = subprocess.run([*svm, "createslice", str(file)], env=variables, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found = engine(Postgres(home.service("database")).url("svm"))
    query = text("""
        SELECT extract(epoch FROM max(at) FILTER (WHERE type = 'ended') - max(at) FILTER (WHERE type = 'note'))
        FROM svm.event JOIN svm.operation o ON o.id = operation WHERE o.slice_name = :name""")
    with found.connect() as connection:
        took = float(connection.scalar(query, {"name": name}) or 0)
    found.dispose()
    subprocess.run([*svm, "deleteslice", name], env=variables, capture_output=True, check=True)
    return took


@contextmanager
def testbed(home: Home, *nodes: str) -> Iterator[dict[str, str]]:
    """A running one with such nodes (options of `dslice up`); the environment of its PI."""
    dslice = [str(Path(sys.executable).with_name("dslice"))]
    here = ["--home", str(home.directory)]
    subprocess.run([*dslice, "up", *here, *nodes, "--detach"], check=True, capture_output=True)
    try:
        told = subprocess.run([*dslice, "env", *here], check=True, capture_output=True, text=True).stdout
        yield {**os.environ, **exported(told)}
    finally:
        subprocess.run([*dslice, "down", *here], check=True, capture_output=True)


def exported(lines: str) -> dict[str, str]:
    """What `export NAME=VALUE` lines set; read by a shell, which knows their quoting."""
    script = f"{lines}\nexec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    shell = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(shell.stdout.splitlines()[-1])
    return {name: str(value) for name, value in found.items()}
