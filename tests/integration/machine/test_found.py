"""Courses of events worth their own test: found by thought or by the machine, played to their end here."""

from collections.abc import Iterator

import pytest

from lifecycle.operations import SliceSpec, Verb
from tasks.clean import clean
from tasks.sweep import sweep
from tests.integration.machine.invariants import Watch
from tests.integration.machine.whole import Ground, Whole, at_work
from tests.integration.machine.wire import Fate
from tests.unit.nodemgr.world import USER_KEYS

SPEC = SliceSpec(1, 3600)


@pytest.fixture
def whole(ground: Ground) -> Iterator[Whole]:
    """Its slice `aa` runs on one node."""
    with at_work(Whole(ground)) as made:
        made.ask(Verb.CREATESLICE, "aa", spec=SPEC)
        made.work_off()
        yield made
        made.close()


def renewal_without_answer(whole: Whole) -> None:
    """It was done, nobody heard of it, and its node is out of reach from then on."""
    whole.forward(600)
    whole.ask(Verb.RENEWSLICE, "aa")
    whole.wire.doom(Fate.LOST)
    whole.deliver(whole.queue.pop(0))
    whole.wire.down.update(site.address for site in whole.sites)
    for _ in range(4):
        whole.forward(30)
        sweep()
        whole.work_off()
    assert not whole.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL")


def test_a_slice_is_not_gone_while_a_renewal_that_nobody_heard_of_may_keep_it_alive(whole: Whole) -> None:
    renewal_without_answer(whole)
    whole.ask(Verb.DELETESLICE, "aa")
    whole.work_off()
    whole.forward(3100)  # past the end, and the grace, of the lease that svmd knows of
    clean()
    whole.work_off()
    Watch(whole).look()
    assert [row.state for row in whole.rows("SELECT state FROM svm.sliver")] == ["deleting"]
    whole.forward(3600)
    clean()
    assert [row.state for row in whole.rows("SELECT state FROM svm.sliver")] == ["deleted"]


def test_verbs_of_one_sliver_that_are_recorded_in_one_commit_are_all_done(whole: Whole) -> None:
    watch = Watch(whole)
    whole.forward(600)
    whole.ask(Verb.RENEWSLICE, "aa")
    whole.ask(Verb.ADDKEY, "aa", keys=USER_KEYS[:1])
    messages, whole.queue = whole.queue, []
    assert len(messages) == 2
    whole.deliver_together(messages)
    watch.look()
    (row,) = whole.rows("SELECT generation, key_generation FROM svm.sliver")
    assert (row.generation, row.key_generation) == (2, 1)


def test_nor_is_it_purged(whole: Whole) -> None:
    renewal_without_answer(whole)
    whole.forward(3100)
    clean()
    whole.work_off()
    Watch(whole).look()
    whole.forward(3600)
    clean()
    assert [row.state for row in whole.rows("SELECT state FROM svm.slice")] == ["deleted"]
