"""Renewals: beat's look at many living slivers beside a hundredth of them = 1.0, and catching up beside bare asyncio.

To catch up, slivers on simulated nodes are made due all at once; beat, the workers and the nodes do the rest. The
baseline renews as many others with the same calls, as their owner, and keeps nothing.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, Row, text

from bench.looks import fill, timed
from bench.records import database
from bench.tools.scale import full
from bench.tools.stage import Stage, testbed
from bench.tools.tables import Cell, Table
from lifecycle.renewal import due, over
from nodemgr.client import NodeClient
from rpc.aio import Session
from trust.identity import Identity, Role

NODES_OF_SLICE = 100
DUE_OF = 100  # of so many living slivers one is due
IN_FLIGHT = 64
LOOK_SECONDS = "2"
LOOKS = 9
PATIENCE = 600  # seconds
MAKE_DUE = text("""
    UPDATE svm.sliver v SET renew_at = now() - interval '1 minute', expires_at = now() + interval '1 day'
    FROM svm.slice x WHERE x.id = v.slice AND x.name = :name""")
ALL_DUE = text("""
    UPDATE svm.sliver v SET renew_at = now() FROM svm.slice x WHERE x.id = v.slice AND starts_with(x.name, :prefix)""")
RENEWED = text("""
    SELECT count(*) AS steps, extract(epoch FROM max(s.ended_at) - min(s.started_at))::float8 AS seconds
    FROM svm.step s JOIN svm.operation o ON o.id = s.operation
    WHERE s.kind = 'renew' AND s.state = 'done' AND starts_with(o.slice_name, :prefix)""")
HELD = text("""
    SELECT x.name, x.slice_id, v.node_name, v.api, v.generation
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE starts_with(x.name, :prefix)""")


def main() -> Sequence[Table]:
    return [look(1_000_000 if full() else 100_000), caught_up(*((10, 1000) if full() else (4, 128)))]


def look(living: int) -> Table:
    """What beat does every 15 s, with one of a hundred slivers due."""
    took = {}
    for count in (living // 100, living):
        with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as found:
            slices = count // NODES_OF_SLICE
            fill(found, prefix="live", slices=slices, nodes=NODES_OF_SLICE, renewals=0, living=True)
            make_due(found, max(1, slices // DUE_OF))
            took[count] = sum(min(timed(found, look) for _ in range(LOOKS)) for look in (over, due))
    base = took[living // 100]
    rows = [(f"{count:,} living, {count // DUE_OF:,} due", ms * 1000, ms / base) for count, ms in took.items()]
    return Table("renewals", f"Beat's look for what is due, best of {LOOKS}", ("", "ms", "ratio"), rows)


def make_due(found: Engine, slices: int) -> None:
    """All slivers of the first slices."""
    with found.begin() as connection:
        for number in range(1, slices + 1):
            connection.execute(MAKE_DUE, {"name": f"live{number}"})


def caught_up(slices: int, size: int) -> Table:
    """Renewals a second when all slivers are due."""
    variables = {"DSLICE_AUTORENEW_SECONDS": LOOK_SECONDS}
    options = ("--nodes", "0", "--simulated", str(size))
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, variables), testbed(folder, *options) as stage:
        for number in range(slices):
            for name, more in ((f"ours{number}", ("--autorenew",)), (f"bare{number}", ())):
                stage.svm("-p", "256", "createslice", *more, str(stage.slice_file(name, size)))
        found = stage.database()
        with found.connect() as connection:
            held = connection.execute(HELD, {"prefix": "bare"}).all()
        base = asyncio.run(bare(stage, held))
        ours = renewed(found, slices * size)
        found.dispose()
    rows: list[Sequence[Cell]] = [("bare asyncio", base, 1.0), ("beat and one worker", ours, ours / base)]
    title = f"Renewals caught up: {slices} slices on {size} simulated nodes"
    return Table("renewals", title, ("", "renewals/s", "ratio"), rows)


def renewed(found: Engine, count: int) -> float:
    """A second, by beat and the worker."""
    with found.begin() as connection:
        connection.execute(ALL_DUE, {"prefix": "ours"})
    end = time.monotonic() + PATIENCE
    while True:
        with found.connect() as connection:
            steps, seconds = connection.execute(RENEWED, {"prefix": "ours"}).one()
        if steps >= count:
            return float(steps / seconds)
        assert time.monotonic() < end, f"{steps} of {count} renewed"
        time.sleep(0.5)


async def bare(stage: Stage, held: Sequence[Row[Any]]) -> float:
    """A second, by the owner's own calls."""
    window = asyncio.Semaphore(IN_FLIGHT)
    async with Session(stage.credentials) as session:

        async def renew(row: Row[Any]) -> None:
            async with window:
                node = NodeClient(session, row.api, Identity(Role.NODE, row.node_name))
                await node.renew(row.name, row.slice_id, row.generation, None)

        began = time.perf_counter()
        await asyncio.gather(*map(renew, held))
        return len(held) / (time.perf_counter() - began)
