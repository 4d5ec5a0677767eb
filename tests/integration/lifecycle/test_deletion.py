"""How slices end: deleted by their owner, whatever is under way, or cleaned away once nothing of them is valid."""

from models.states import Kind, Verb
from tests.integration.lifecycle.world import KEY, OTHER, World, final, tickets
from trust.errors import Code


def test_deleteslice_ends_in_nothing(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.ADDKEY, keys=(KEY,))
    deleted = world.run(Verb.DELETESLICE)
    assert ("release", None) in world.steps(deleted.operation)
    assert set(world.states().values()) == {"deleted"}
    assert world.rows("SELECT state, sealed_key, working, released_at IS NULL FROM svm.slice") == [
        ("deleted", None, None, False)
    ]
    assert world.rows("SELECT 1 FROM svm.sliver WHERE ticket IS NOT NULL OR lease IS NOT NULL") == []
    assert world.rows("SELECT 1 FROM svm.slice_key") == []
    world.refused(Code.NOT_FOUND, Verb.DELETESLICE)
    world.run(Verb.CREATESLICE)


def test_a_node_that_is_not_reached_stays_deleting_and_a_later_run_finishes(world: World) -> None:
    world.run(Verb.CREATESLICE)
    started = world.run(Verb.DELETESLICE, failing={(Kind.DELETE, "127.0.1.2"): final()})
    assert world.operation(started.operation).outcome == "partial"
    assert list(world.states().values()) == ["deleted", "deleting", "deleted", "deleted"]
    world.refused(Code.NOT_FOUND, Verb.RENEWSLICE)
    world.run(Verb.DELETESLICE)
    assert set(world.states().values()) == {"deleted"}


def test_the_name_can_be_used_again_while_an_old_sliver_lingers(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.DELETESLICE, failing={(Kind.DELETE, "127.0.1.2"): final()})
    world.start(Verb.CREATESLICE)
    assert sorted(row.state for row in world.rows("SELECT state FROM svm.slice")) == ["deleting", "open"]


def test_delete_wins_over_what_is_under_way(world: World) -> None:
    created = world.start(Verb.CREATESLICE)
    (ticket,) = world.claim(created.publish)
    _, refs = world.record((ticket, tickets(["127.0.1.1", "127.0.1.2"])))
    working = world.claim(refs[:1])
    deleted = world.start(Verb.DELETESLICE)
    assert world.operation(created.operation).outcome == "cancelled"
    assert world.claim(refs[1:]) == []
    assert world.record((working[0], world.answer(working[0])))[0] == [False]
    assert set(world.states().values()) == {"deleting"}
    world.finish(deleted.publish)
    assert set(world.states().values()) == {"deleted"}


def test_deleting_before_any_ticket(world: World) -> None:
    created = world.start(Verb.CREATESLICE)
    (ticket,) = world.claim(created.publish)
    world.run(Verb.DELETESLICE)
    assert world.record((ticket, tickets(["127.0.1.1"])))[0] == [False]
    assert world.states() == {}
    assert world.rows("SELECT state FROM svm.slice") == [("deleted",)]


def test_deleteslice_is_not_done_twice_at_once(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.start(Verb.DELETESLICE)
    world.refused(Code.BUSY, Verb.DELETESLICE)
    world.refused(Code.BUSY, Verb.CREATESLICE)


def test_a_redeemed_ticket_without_an_answer_may_be_a_lease_until_its_end(world: World) -> None:
    world.run(Verb.CREATESLICE, failing={(Kind.NEWLEASES, "127.0.1.1"): final()})
    world.start(Verb.DELETESLICE)
    (row,) = world.rows(
        "SELECT expires_at - now() > interval '7000 s' AS late FROM svm.sliver WHERE node = '127.0.1.1'"
    )
    assert row.late


def test_clean_purges_what_holds_nothing_valid(world: World) -> None:
    world.run(Verb.CREATESLICE, "old")
    world.run(Verb.CREATESLICE, "young")
    world.run(Verb.CREATESLICE, "working")
    world.run(Verb.CREATESLICE, "others", owner=OTHER)
    world.execute("""UPDATE svm.sliver SET expires_at = now() - interval '1 s'
                     WHERE slice IN (SELECT id FROM svm.slice WHERE name <> 'young')""")
    world.start(Verb.NEWTICKETS, "working")
    started = world.run(Verb.CLEAN, "")
    assert [row.reason for row in world.events(started.operation, "note")] == ["purged old"]
    rows = world.rows("SELECT name, state, sealed_key IS NULL AS gone FROM svm.slice ORDER BY name")
    assert [(row.name, row.state, row.gone) for row in rows] == [
        ("old", "deleted", True),
        ("others", "open", False),
        ("working", "open", False),
        ("young", "open", False),
    ]


def test_clean_leaves_a_slice_with_a_sliver_that_is_being_deleted(world: World) -> None:
    world.run(Verb.CREATESLICE, replace=True, failing={(Kind.NEWLEASES, "127.0.1.2"): final()})
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s'")
    world.run(Verb.CLEAN, "")
    assert world.rows("SELECT state FROM svm.slice") == [("open",)]
