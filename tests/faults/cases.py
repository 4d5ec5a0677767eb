"""The table of cases: what is broken, and for how long at each verb."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.faults.breaking import broker, clocks, database, nodes, points, services, workers
from tests.faults.life import ALL_VERBS, VERBS
from tests.faults.stack import LAPSE, Stack

LONGEST = 300
"""Seconds, at most, until a process has died at all of its points: 50 on a machine with nothing else to do."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to break it.

    Args:
        least, hold: the fault lasts at least and at most so many seconds at each verb, in between until all has ended.
        short: part of the short run.
        verbs: under which it is broken.
        slices, nodes: how many of them, where it is about many steps of each kind and not about many nodes.
    """

    name: str
    fault: Callable[[Stack], AbstractContextManager[None]]
    hold: float = 12
    least: float = 4
    short: bool = False
    verbs: tuple[str, ...] = VERBS
    slices: int | None = None
    nodes: int | None = None


CASES = (
    Case("workers: kill -9 in a loop", workers.killed_in_a_loop, 16, 8, short=True, verbs=ALL_VERBS),
    Case("workers: all killed at once", workers.all_killed, hold=14, least=8),
    Case(
        "a worker dies at each point of a step",
        points.each("worker"),
        LONGEST,
        2,
        verbs=ALL_VERBS,
        slices=8,
        nodes=8,
    ),
    Case("svmd dies at each point of a request", points.each("svmd"), LONGEST, 1, slices=4, nodes=4),
    Case("a node dies at each point of a call", points.each("simnodes"), LONGEST, 1, slices=2, nodes=8),
    Case("the agent dies at each point of a request", points.each("agent"), LONGEST, 1, slices=6, nodes=4),
    Case("Valkey: kill -9", broker.killed),
    Case("Valkey: FLUSHALL", broker.flushed, short=True),
    Case("Valkey: SIGSTOP", broker.paused),
    Case("Valkey: out of memory", broker.full),
    Case("PostgreSQL: kill -9", database.killed, hold=14, least=6, short=True),
    Case("a worker stopped past its claims", workers.stopped_past_their_claims, hold=LAPSE + 6, least=LAPSE + 3),
    Case("workers: SIGTERM", workers.terminated),
    Case("nodes refuse", nodes.misbehave("refuse"), verbs=ALL_VERBS),
    Case("nodes accept and never answer", nodes.misbehave("blackhole"), hold=8),
    Case("nodes reset", nodes.misbehave("reset"), hold=8),
    Case("nodes lose the answer", nodes.misbehave("lose-answer"), hold=8, short=True, verbs=ALL_VERBS),
    Case("nodes answer half", nodes.misbehave("half-answer"), hold=8),
    Case("nodes answer a byte a second", nodes.misbehave("drip=1"), hold=8),
    Case("nodes: kill -9 and back", nodes.killed),
    Case("INSERT fails after the node acted", database.inserts_fail, hold=LAPSE + 4, least=LAPSE + 2),
    Case("two beats, workers and beat killed", workers.two_beats, hold=8),
    Case("two beats and a damaged schedule file, both killed", workers.damaged_schedule, hold=8),
    Case("no beat, workers killed", workers.no_beat, hold=10),
    # What a clock ahead has signed is refused until 30 s before its time: ahead by more would not be right in 120 s.
    Case("nodes' clocks 2 minutes ahead", clocks.off(120, "simnodes"), hold=6),
    Case("nodes' clocks 3 minutes behind", clocks.off(-180, "simnodes"), hold=6),
    Case("the agent's clock 2 minutes ahead", clocks.off(120, "agent"), hold=6),
    Case("the agent's clock 3 minutes behind", clocks.off(-180, "agent"), hold=6),
    Case("clocks of svmd, workers and beat 3 minutes ahead", clocks.off(180, "svmd", "worker", "beat"), hold=6),
    Case("clocks of workers and beat 3 minutes behind", clocks.off(-180, "worker", "beat"), hold=6),
    Case("every message ten times", broker.everything_ten_times, hold=20),
    Case("svmd: kill -9", services.svmd_killed),
    Case("agent down", services.agent_down, hold=6),
    Case("plc down", services.plc_down, hold=6),
)
