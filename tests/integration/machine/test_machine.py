"""Any order of verbs, deliveries, duplicates, crashes, lost answers, outages and clock steps keeps every invariant;
and once all is healed, sweeps alone end every operation, and tables and nodes agree.

`DSLICE_DEEP=1` looks much longer; `DSLICE_EXAMPLES` and `DSLICE_STEPS` say how much. `DSLICE_NO_SHRINKING=1` shows the
first story that fails instead of looking for a shorter one.
"""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lifecycle.operations import Verb, cancel
from tasks import context, publish
from tasks.clean import clean
from tasks.reconcile import reconcile_all
from tasks.sweep import sweep
from tests.integration.machine.choices import (
    ASKED,
    BEAT,
    BESIDE,
    CRASH,
    ENDS,
    FATE,
    KEY_VERBS,
    LATEST,
    NAME,
    NODE,
    NUMBER,
    QUIET,
    SPECS,
    End,
    needs,
    resized,
)
from tests.integration.machine.invariants import Watch
from tests.integration.machine.whole import NODES, OTHER, Ground, Whole, at_work
from tests.integration.machine.wire import Fate
from tests.unit.nodemgr.world import USER_KEYS
from tests.unit.trust.factories import USER
from trust.errors import Refusal

DEEP = bool(os.environ.get("DSLICE_DEEP"))
EXAMPLES = int(os.environ.get("DSLICE_EXAMPLES") or (300 if DEEP else 10))
STEPS = int(os.environ.get("DSLICE_STEPS") or (60 if DEEP else 40))

counts: Counter[str] = Counter()


class Machine(RuleBasedStateMachine):
    """Users, workers, beat and fate take turns."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.whole = Whole(self.ground)
        self.watch = Watch(self.whole)
        self.operations: list[UUID] = []
        self.place = ExitStack()
        self.place.enter_context(at_work(self.whole))

    @initialize(names=st.sets(NAME, min_size=1))
    def begin(self, names: set[str]) -> None:
        """With slices that run, or without."""
        for name in sorted(names):
            self.ask(Verb.CREATESLICE, name, spec=SPECS[name])
        self.whole.work_off()

    # Users

    def ask(self, verb: Verb, name: str, crash: int | None = None, **options: Any) -> None:
        self.whole.fuse.left = crash
        counts[f"ask {verb}"] += 1
        try:
            started = self.whole.ask(verb, name, **options)
        except Refusal as refusal:
            counts[f"refused {refusal.code}"] += 1
        else:
            self.operations += [started.operation] if started else []

    # Few rules here and many below: Hypothesis takes each as often as the others, and deliveries are what matters.
    @rule(
        name=NAME,
        verb=st.sampled_from(ASKED) | st.none(),
        stranger=st.sampled_from([False] * 7 + [True]),
        on=st.booleans(),
        replace=st.booleans(),
        window=st.integers(1, 3),
        number=NUMBER,
        crash=st.sampled_from([None, None, None, 0, 1]),
        ends=ENDS,
    )
    def user_asks(
        self,
        name: str,
        verb: Verb | None,
        stranger: bool,
        on: bool,
        replace: bool,
        window: int,
        number: int,
        crash: int | None,
        ends: list[End],
    ) -> None:
        """Any verb; None is svm cancel. Some of its messages are taken at once."""
        if verb is None:
            if self.operations:
                self.cancel(number)
            self.take(ends)
            return
        standing = self.whole.given(OTHER if stranger else USER, name, days=20, heal=True) if on else None
        more: dict[str, Any] = {"parallelism": window, "owner": OTHER if stranger else USER}
        if verb in (Verb.CREATESLICE, Verb.NEWTICKETS):
            more |= {"spec": resized(name, number), "replace": replace, "autorenew": on or None, "standing": standing}
        elif verb in KEY_VERBS:
            more["keys"] = (USER_KEYS[number % len(USER_KEYS)],)
        elif verb is Verb.SHRINK:
            more["nodes"] = (f"127.0.1.{1 + number % NODES}",)
        elif verb is Verb.REPLACE:
            more |= {"nodes": (f"127.0.1.{1 + number % NODES}",), "replace": True, "actor": "beat"}
        elif verb in (Verb.AUTORENEW, Verb.HEAL):
            more |= {str(verb): on, "standing": standing}
        self.ask(verb, name, crash, **more)
        self.take(ends)

    def cancel(self, number: int) -> None:
        operation = self.operations[-1 - number % min(3, len(self.operations))]
        try:
            refs = self.whole.mortal(lambda: context.transaction(cancel, operation))
        except Refusal:
            return
        counts["cancelled"] += 1
        publish.publish(refs or [])

    # Workers

    def deliver(self, message: Any, crash: int | None, fate: Fate, spared: int) -> None:
        self.whole.fuse.left = crash
        self.whole.wire.doom(fate, spared)
        before = len(self.whole.stopped)
        self.whole.deliver(message)
        counts["delivered"] += 1
        counts[f"fate {fate}"] += 1
        counts["stopped"] += len(self.whole.stopped) - before

    def take(self, ends: list[End]) -> None:
        for number, crash, fate, spared, again in ends:
            if self.whole.queue:
                message = self.whole.queue.pop(number % len(self.whole.queue))
                self.deliver(message, crash, fate, spared)
                if again:
                    self.deliver(message, None, Fate.ARRIVES, 0)

    @precondition(lambda self: self.whole.queue)
    @rule(ends=ENDS)
    def take_messages(self, ends: list[End]) -> None:
        """Each comes to its own end."""
        self.take(ends)

    @precondition(lambda self: self.whole.sent)
    @rule(number=NUMBER, crash=CRASH, fate=FATE)
    def take_message_again(self, number: int, crash: int | None, fate: Fate) -> None:
        """Any that was ever sent."""
        counts["again"] += 1
        self.deliver(self.whole.sent[-1 - number % len(self.whole.sent)], crash, fate, 0)

    @precondition(lambda self: self.whole.queue)
    @rule(most=st.sampled_from([2, 5, 30, 30]), twice=st.booleans())
    def work(self, most: int, twice: bool) -> None:
        """Workers do what they are for."""
        for _ in range(most):
            if self.whole.queue:
                message = self.whole.queue.pop(0)
                self.deliver(message, None, Fate.ARRIVES, 0)
                if twice:
                    self.deliver(message, None, Fate.ARRIVES, 0)

    @precondition(lambda self: self.whole.queue)
    @rule(number=NUMBER, most=st.integers(2, 12), crash=CRASH)
    def take_messages_together(self, number: int, most: int, crash: int | None) -> None:
        """Side by side, recorded in one commit."""
        at = number % len(self.whole.queue)
        messages = self.whole.queue[at : at + most]
        del self.whole.queue[at : at + most]
        self.whole.fuse.left = crash
        self.whole.deliver_together(messages)
        counts["side by side"] += len(messages)

    @rule(
        name=NAME,
        other=NAME,
        verbs=st.permutations(BESIDE),
        deleted=st.sampled_from([False] * 5 + [True]),
        jobs=st.sets(st.sampled_from(["reconcile", "autorenew"])),
        key=st.integers(0, 1),
        crash=CRASH,
    )
    def verbs_side_by_side(
        self, name: str, other: str, verbs: list[Verb], deleted: bool, jobs: set[str], key: int, crash: int | None
    ) -> None:
        """What may run together does, on two slices that may share nodes."""
        for verb in [*verbs[:3], *[Verb.DELETESLICE] * deleted]:
            for which in sorted({name, other}):
                keys: dict[str, Any] = {"keys": (USER_KEYS[key],)} if verb in KEY_VERBS else {}
                self.ask(verb, which, **keys)
        for job in sorted(jobs):
            self.whole.mortal(BEAT[job])
        while self.whole.queue:
            messages, self.whole.queue = self.whole.queue[:24], self.whole.queue[24:]
            self.whole.fuse.left, crash = crash, None
            self.whole.deliver_together(messages)
            self.watch.look()
            counts["side by side"] += len(messages)

    @precondition(lambda self: self.whole.stopped)
    @rule(number=NUMBER, go_on=st.booleans(), crash=CRASH)
    def stopped_worker(self, number: int, go_on: bool, crash: int | None) -> None:
        if go_on:
            counts["went on"] += 1
            self.whole.fuse.left = crash
            self.whole.resume(number)
        else:
            counts["killed"] += 1
            self.whole.kill(number)

    @rule(duplicates=st.booleans())
    def others_go_on(self, duplicates: bool) -> None:
        """Long enough for claims to lapse; then other workers do what was left behind."""
        self.whole.forward(QUIET)
        sweep()
        self.work(30, duplicates)

    @rule(
        name=NAME,
        verb=st.sampled_from(
            [Verb.CREATESLICE, Verb.RENEWSLICE, Verb.DELETESLICE, Verb.ADDKEY, Verb.STOP, Verb.RESTART]
        ),
        before=st.integers(0, 4),
        fate=st.sampled_from([Fate.STOPS_BEFORE, Fate.STOPS_AFTER]),
        meanwhile=st.none() | st.sampled_from([Verb.DELETESLICE, Verb.RENEWSLICE, Verb.CREATESLICE, Verb.START]),
        lapses=st.booleans(),
    )
    def slow_worker(self, name: str, verb: Verb, before: int, fate: Fate, meanwhile: Verb | None, lapses: bool) -> None:
        """One that stands still while others go on, perhaps past its claim, and then finishes what it had begun."""
        stopped = len(self.whole.stopped)
        self.ask(verb, name, **needs(verb, name))
        self.work(before, False)
        for message in self.whole.queue[:1]:
            self.whole.queue.remove(message)
            self.deliver(message, None, fate, 0)
            self.watch.look()
            self.deliver(message, None, Fate.ARRIVES, 0)  # again, while the claim is another's
            self.watch.look()
        if meanwhile is not None:
            self.ask(meanwhile, name, **needs(meanwhile, name))
        if lapses:
            self.others_go_on(False)
        self.work(30, False)
        self.watch.look()
        if len(self.whole.stopped) > stopped:
            counts["outlived" if lapses else "overtaken"] += 1
            self.whole.resume(-1)

    @precondition(lambda self: self.whole.queue)
    @rule()
    def queue_is_wiped(self) -> None:
        counts["wiped"] += 1
        self.whole.queue.clear()

    # Beat, nodes, agent, clock

    @rule(job=st.sampled_from(sorted(BEAT)), twice=st.booleans(), crash=CRASH, ends=ENDS)
    def beat(self, job: str, twice: bool, crash: int | None, ends: list[End]) -> None:
        self.whole.fuse.left = crash
        for _ in range(1 + twice):
            self.whole.mortal(BEAT[job])
        self.take(ends)

    @rule(node=st.integers(0, NODES), after=st.integers(0, 5))
    def will_die(self, node: int, after: int) -> None:
        """A node, or the agent (0), in a write or a call of the driver that is to come."""
        fuse = self.whole.sites[node - 1].fuse if node else self.whole.agent_fuse
        fuse.left = after

    @rule(node=NODE, what=st.sampled_from(["away", "gone", "back", "back", "restarts", "vm ends"]))
    def node_changes(self, node: int, what: str) -> None:
        """Out of reach; its process gone until it restarts; in reach again. Or a VM ends by itself there."""
        site, down = self.whole.sites[node - 1], self.whole.wire.down
        if what == "vm ends":
            for lease in site.store.leases()[:1] if site.alive else ():
                counts["ended by itself"] += 1
                self.whole.do(self.whole.end_vm(site, lease.slice))
            return
        if what in ("away", "gone"):
            down.add(site.address)
            site.alive = site.alive and what == "away"
            return
        if what == "restarts" or not site.alive:
            self.whole.do(self.whole.restart(site.address))
        down.discard(site.address)

    @rule(seconds=st.sampled_from([1, 5, 40, 80, 80, 300, 700, 2000, 7200, 30_000]))
    def time_passes(self, seconds: int) -> None:
        if self.whole.clock.now() + timedelta(seconds=seconds) < LATEST:
            self.whole.forward(seconds)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        counts["looks"] += 1
        self.watch.look()
        self.whole.clock.forward(0.01)  # two rules never share a moment

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            counts["operations"] += self.whole.rows("SELECT count(*) AS n FROM svm.operation")[0].n
            counts["steps"] += self.whole.rows("SELECT count(*) AS n FROM svm.step")[0].n
            counts["events"] += self.whole.rows("SELECT count(*) AS n FROM svm.event")[0].n
            self.whole.close()
            self.place.close()

    def heal(self) -> None:
        """Everything comes back; messages that were on their way are gone."""
        whole = self.whole
        while whole.stopped:
            whole.kill(0)
        whole.queue.clear()
        for site in whole.sites:
            whole.do(whole.restart(site.address))
        whole.wire.down.clear()
        whole.start_agent()
        for round in range(60):
            self.settle()
            if not whole.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"):
                break
            assert round < 59, "I3: sweeps alone do not end it"
        for _ in range(2):
            reconcile_all()
            self.settle()
        clean()
        self.settle()
        self.watch.agree()

    def settle(self) -> None:
        """A while without beat's other jobs."""
        self.whole.forward(QUIET)
        sweep()
        self.whole.work_off()
        self.watch.look()


@pytest.fixture
def machine(ground: Ground) -> Iterator[type[Machine]]:
    """Over this database; quiet."""
    logging.disable(logging.CRITICAL)

    class Grounded(Machine):
        pass

    Grounded.ground = ground
    yield Grounded
    logging.disable(logging.NOTSET)
    sys.stderr.write(f"\n{dict(sorted(counts.items()))}\n")


@pytest.mark.timeout(7200 if DEEP else 600)
def test_any_order_of_events_loses_and_doubles_nothing(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not DEEP,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate] if os.environ.get("DSLICE_NO_SHRINKING") else [Phase.generate, Phase.shrink],
            print_blob=False,
        ),
    )
