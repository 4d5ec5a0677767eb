"""One case: each verb under its fault, then the time until everything is right again, then the invariants."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle

import psycopg

from testbed.home import HomeError
from tests.faults import evidence, invariants
from tests.faults.cases import Case
from tests.faults.invariants import Breach
from tests.faults.life import REPEATABLE, VERBS, Life, settled
from tests.faults.stack import GRACE, Counted, Stack
from tests.faults.watch import Watch, secrets_in_logs
from trust.errors import Refusal

CONVERGED_WITHIN = 120
"""Seconds after the fault's end in which everything must be right (the bar of the issue)."""

TYPED_EVERY = 5
"""Seconds between two tries of somebody who types a command again: more would only add steps that fail."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What came of one case, all its runs together. `seconds`: the longest time to converge; `again`: commands that
    had to be typed again because nodes had failed for good meanwhile."""

    case: str
    runs: int = 0
    kills: int = 0
    broken: int = 0
    steps: int = 0
    lost: int = 0
    doubled: int = 0
    again: int = 0
    seconds: float = 0
    why: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.why)

    def note(self, found: Iterable[Breach]) -> None:
        for breach in found:
            self.lost += breach.what == "lost"
            self.doubled += breach.what != "lost"
            self.why.append(str(breach))


@dataclass
class Runner:
    """Runs cases on a stack that is up. `slices`: how many are under way at once, each on all nodes."""

    stack: Stack
    slices: int
    tell: Tell
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _typed: float = 0
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """One round of slices, whose verbs meet these cases in turn (one case: all of them); what came of each case,
        with what its earlier rounds found."""
        names = [f"f{next(self._numbers)}" for _ in range(cases[0].slices or self.slices)]
        life = Life(self.stack, names, self.stack.addresses[: cases[0].nodes])
        watch = Watch(self.stack)
        watch.start()
        for case in cases:
            self.outcomes.setdefault(case.name, Outcome(case.name)).runs += 1
        try:
            for verb, case in zip(cases[0].verbs if len(cases) == 1 else VERBS, cycle(cases), strict=False):
                self._verb(case, verb, life, self.outcomes[case.name])
        except (Refusal, HomeError, psycopg.Error) as error:
            # Not taken within the patience of `Life`, or a part of the testbed that did not come back.
            self.outcomes[case.name].note([Breach("lost", verb, str(error))])
        finally:
            watch.stop()
        outcomes = [self.outcomes[case.name] for case in cases]
        wrong = [*watch.breaches, *secrets_in_logs(self.stack)]
        outcomes[0].note(Breach("doubled", "on the way", why) for why in wrong)
        return outcomes

    def _verb(self, case: Case, verb: str, life: Life, outcome: Outcome) -> None:
        self.stack.counted, steps, again = Counted(verb), life.steps(), life.again
        begun = time.monotonic()
        with case.fault(self.stack):
            self._under_way(case, verb, life)
        ended = time.monotonic()
        found = self.converge(verb, life)
        seconds = time.monotonic() - ended
        outcome.seconds = max(outcome.seconds, seconds)
        outcome.note(found)
        outcome.kills += self.stack.counted.kills
        outcome.broken += self.stack.counted.broken
        outcome.steps += life.steps() - steps
        outcome.again += life.again - again
        outcome.why += [f"nobody died at: {point}" for point in self.stack.counted.missed]
        took = f"broken for {ended - begun:.0f} s, right again in {seconds:.1f} s"
        self.tell(f"  {case.name}, {verb}: {took}, {self.stack.counted.kills} kills, {len(found)} breaches")

    def _under_way(self, case: Case, verb: str, life: Life) -> None:
        """Ask for it, and go on asking while the fault lasts: work under way is what it is to hit."""
        begun = time.monotonic()
        life.ask(verb, life.names)
        while (left := begun + case.hold - time.monotonic()) > 0 and settled(lambda: not life.open(), left):
            done = not self.stack.counted.unmet() or not (verb in REPEATABLE or life.undone(verb))
            if done and begun + case.least < time.monotonic():
                break
            self._again(verb, life)

    def _again(self, verb: str, life: Life) -> None:
        """Once more what may be repeated, and what has failed where points are still to be come to."""
        if verb in REPEATABLE:
            life.ask(verb, life.names)
        elif self.stack.counted.unmet():
            undone = life.undone(verb)
            life.again += len(undone)
            life.ask(verb, undone)
        time.sleep(0.2)

    def converge(self, verb: str, life: Life) -> list[Breach]:
        """Wait until nothing is under way, the verb has done its work everywhere, and all agree; what is left after
        two minutes. Where a node had failed for good the command is typed again, as users would."""
        deadline, self._typed = time.monotonic() + CONVERGED_WITHIN, 0
        found: list[Breach] = []
        while time.monotonic() < deadline:
            with suppress(psycopg.OperationalError, HomeError):
                found = self._left(verb, life)
                if not found:
                    return []
            time.sleep(0.5)
        return found

    def _left(self, verb: str, life: Life) -> list[Breach]:
        with self.stack.connect() as database:
            if found := [Breach("lost", "operation", line) for line in evidence.unended(database)]:
                return found
        if found := [Breach("lost", name, f"{verb} has not done all of its work") for name in life.undone(verb)]:
            if time.monotonic() > self._typed + TYPED_EVERY:
                self._typed = time.monotonic()
                life.again += len(found)
                life.ask(verb, [breach.where for breach in found])
            return found
        return invariants.breaches(evidence.look(self.stack), grace=GRACE)
