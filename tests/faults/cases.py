"""The table of cases: what is broken, and for how long at each verb."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.faults.breaking import broker, database, nodes, points, services, workers
from tests.faults.stack import LAPSE, Stack


@dataclass(frozen=True, slots=True)
class Case:
    """One way to break it.

    Args:
        least, hold: the fault lasts at least and at most so many seconds at each verb, in between until all has ended.
        short: part of the short run.
        slices, nodes: how many of them, where it is about many steps of each kind and not about many nodes.
    """

    name: str
    fault: Callable[[Stack], AbstractContextManager[None]]
    hold: float = 12
    least: float = 4
    short: bool = False
    slices: int | None = None
    nodes: int | None = None


CASES = (
    Case("workers: kill -9 in a loop", workers.killed_in_a_loop, hold=16, least=8, short=True),
    Case("workers: all killed at once", workers.all_killed, hold=14, least=8),
    Case("a worker dies at each point of a step", points.each("worker"), hold=90, least=2, slices=8, nodes=8),
    Case("svmd dies at each point of a request", points.each("svmd"), hold=60, least=1, slices=4, nodes=4),
    Case("a node dies at each point of a call", points.each("simnodes"), hold=90, least=1, slices=2, nodes=8),
    Case("the agent dies at each point of a request", points.each("agent"), hold=60, least=1, slices=6, nodes=4),
    Case("Valkey: kill -9", broker.killed),
    Case("Valkey: FLUSHALL", broker.flushed, short=True),
    Case("Valkey: SIGSTOP", broker.paused),
    Case("Valkey: out of memory", broker.full),
    Case("PostgreSQL: kill -9", database.killed, hold=14, least=6, short=True),
    Case("a worker stopped past its claims", workers.stopped_past_their_claims, hold=LAPSE + 6, least=LAPSE + 3),
    Case("workers: SIGTERM", workers.terminated),
    Case("nodes refuse", nodes.misbehave("refuse")),
    Case("nodes accept and never answer", nodes.misbehave("blackhole"), hold=8),
    Case("nodes reset", nodes.misbehave("reset"), hold=8),
    Case("nodes lose the answer", nodes.misbehave("lose-answer"), hold=8, short=True),
    Case("nodes answer half", nodes.misbehave("half-answer"), hold=8),
    Case("nodes answer a byte a second", nodes.misbehave("drip=1"), hold=8),
    Case("nodes: kill -9 and back", nodes.killed),
    Case("INSERT fails after the node acted", database.inserts_fail, hold=LAPSE + 4, least=LAPSE + 2),
    Case("two beats, workers killed", workers.two_beats, hold=10),
    Case("no beat, workers killed", workers.no_beat, hold=10),
    Case("every message ten times", broker.everything_ten_times, hold=20),
    Case("svmd: kill -9", services.svmd_killed),
    Case("agent down", services.agent_down, hold=6),
    Case("plc down", services.plc_down, hold=6),
)
