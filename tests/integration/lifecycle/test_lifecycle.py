"""One operation after another, as a single worker would do them."""

import pytest
from sqlalchemy import text

from lifecycle.events import CHANNEL, events_since, history
from lifecycle.operations import SliceSpec, read
from lifecycle.slices import find, owned, slivers
from lifecycle.transitions import expire
from models.states import Kind, Outcome, SliverState, Verb
from tests.integration.lifecycle.world import KEY, KEY_TWO, OTHER, OWNER, World, final, given, tickets
from trust.errors import Code, Refusal


def test_createslice_is_newtickets_newleases_newvms(world: World) -> None:
    started = world.run(Verb.CREATESLICE)
    steps = world.steps(started.operation)
    assert {kind for kind, _ in steps} == {"newtickets", "newleases", "newvms"}
    assert set(steps.values()) == {"done"}
    assert set(world.states().values()) == {"running"}
    with world.database.connect() as connection:
        operation = read(connection, started.operation)
        assert (operation.outcome, operation.ok, operation.failed) == (Outcome.DONE, 4, 0)
        events = events_since(connection, started.operation, 0)
        slice_row = find(connection, "demo", OWNER).id
        assert [one.node for one in slivers(connection, slice_row)] == [f"127.0.1.{n}" for n in range(1, 5)]
        assert history(connection, slice_row)[-1][0].type == "ended"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.node for event in events if event.type == "node" and event.ok] == [
        f"127.0.1.{n}" for n in range(1, 5)
    ]
    assert events[0].type == "started"
    assert events[-1].type == "ended"


def test_the_three_verbs_one_by_one(world: World) -> None:
    world.run(Verb.NEWTICKETS)
    assert set(world.states().values()) == {"ticketed"}
    world.run(Verb.NEWLEASES, nodes=("127.0.1.2",))
    assert world.states()["127.0.1.2"] == "leased"
    world.run(Verb.NEWLEASES)
    world.run(Verb.NEWVMS)
    assert set(world.states().values()) == {"running"}


def test_nothing_waits_ends_at_once(world: World) -> None:
    world.run(Verb.CREATESLICE)
    started = world.run(Verb.NEWLEASES)
    assert world.operation(started.operation).outcome == "done"
    assert "nothing to do" in world.events(started.operation, "note")[0].reason


def test_a_failed_step_leaves_the_sliver_where_it_was(world: World) -> None:
    failing = {(Kind.NEWLEASES, "127.0.1.2"): final(), (Kind.NEWVMS, "127.0.1.3"): final(Code.OVER_CAPACITY, "full")}
    started = world.run(Verb.CREATESLICE, failing=failing)
    assert list(world.states().values()) == ["running", "ticketed", "leased", "running"]
    operation = world.operation(started.operation)
    assert (operation.outcome, operation.ok, operation.failed) == ("partial", 2, 2)
    with world.database.connect() as connection:
        second = slivers(connection, find(connection, "demo", None).id)[1]
    assert (second.code, second.last_error, second.attempts) == ("unreachable", "unreachable: try again", 1)


def test_createslice_goes_on_where_it_stopped(world: World) -> None:
    failing = {(Kind.NEWLEASES, "127.0.1.2"): final(), (Kind.NEWVMS, "127.0.1.3"): final()}
    world.run(Verb.CREATESLICE, failing=failing)
    again = world.run(Verb.CREATESLICE)
    assert set(world.steps(again.operation)) == {
        ("newleases", "127.0.1.2"),
        ("newvms", "127.0.1.3"),
        ("newvms", "127.0.1.2"),
    }
    assert set(world.states().values()) == {"running"}


def test_createslice_replaces_a_ticket_that_ran_out(world: World) -> None:
    world.run(Verb.CREATESLICE, failing={(Kind.NEWLEASES, "127.0.1.4"): final()})
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s' WHERE state = 'ticketed'")
    started = world.start(Verb.CREATESLICE)
    (ticket,) = world.claim(started.publish)
    assert ticket.kind is Kind.NEWTICKETS
    _, refs = world.record((ticket, tickets(["127.0.1.4"])))
    world.finish(refs)
    assert set(world.states().values()) == {"running"}


def test_createslice_of_a_complete_slice_is_refused_with_advice(world: World) -> None:
    world.run(Verb.CREATESLICE)
    assert "already runs on its 4 nodes" in world.refused(Code.NAME_TAKEN, Verb.CREATESLICE).reason


def test_newtickets_with_other_numbers_on_a_half_made_slice_is_refused(world: World) -> None:
    world.run(Verb.CREATESLICE, failing={(Kind.NEWLEASES, "127.0.1.2"): final()})
    reason = world.refused(Code.BAD_INPUT, Verb.NEWTICKETS, spec=SliceSpec(5, 3600)).reason
    assert "numnodes 4" in reason
    world.refused(Code.BAD_INPUT, Verb.NEWTICKETS, spec=SliceSpec(4, 7200))


def test_createslice_of_more_nodes_makes_what_is_lacking(world: World) -> None:
    world.run(Verb.CREATESLICE, failing={(Kind.NEWLEASES, "127.0.1.2"): final()})
    started = world.start(Verb.CREATESLICE, spec=SliceSpec(5, 3600))
    assert set(world.steps(started.operation)) == {("newleases", "127.0.1.2"), ("newtickets", None)}


def test_createslice_of_fewer_nodes_gives_back_what_is_least_far(world: World) -> None:
    """Those that do not run before those that do, and of these the last ones."""
    world.run(Verb.CREATESLICE, failing={(Kind.NEWLEASES, "127.0.1.2"): final()})
    started = world.run(Verb.CREATESLICE, spec=SliceSpec(2, 3600))
    assert world.states() == {
        "127.0.1.1": "running",
        "127.0.1.2": "deleted",
        "127.0.1.3": "running",
        "127.0.1.4": "deleted",
    }
    said = [(event.node, event.kind, event.ok) for event in world.events(started.operation, "node")]
    assert said == [("127.0.1.2", "delete", True), ("127.0.1.4", "delete", True)]
    operation = world.operation(started.operation)
    assert (operation.outcome, operation.ok, operation.failed) == ("done", 2, 0)
    assert world.events(started.operation, "note")[0].reason == "given back: 127.0.1.2, 127.0.1.4"


def test_the_nodes_that_the_new_file_names_stay(world: World) -> None:
    world.run(Verb.CREATESLICE)
    wanted = ("127.0.1.4", "127.0.1.3")
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, 3600, wanted))
    assert {node for node, state in world.states().items() if state == "running"} == set(wanted)


def test_another_length_of_the_leases_renews_them_at_once(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.STOP, nodes=("127.0.1.1",))
    started = world.run(Verb.CREATESLICE, spec=SliceSpec(4, 7200))
    assert {kind for kind, _ in world.steps(started.operation)} == {"renew"}
    assert len(world.steps(started.operation)) == 4
    assert world.rows("SELECT leaselen, leaselen_changed FROM svm.slice") == [(7200, True)]
    (ended,) = world.rows("SELECT count(*) FROM svm.sliver WHERE expires_at < now() + interval '6000 seconds'")
    assert ended == (0,)


def test_nodes_are_given_back_by_name(world: World) -> None:
    world.run(Verb.CREATESLICE)
    assert "is not a node" in world.refused(Code.NOT_FOUND, Verb.SHRINK, nodes=("127.0.1.9",)).reason
    every = tuple(world.states())
    assert "deleteslice" in world.refused(Code.BAD_INPUT, Verb.SHRINK, nodes=every).reason
    world.run(Verb.SHRINK, nodes=every[:1])
    assert world.states()[every[0]] == "deleted"
    assert world.rows("SELECT numnodes, pair_wanted FROM svm.slice") == [(3, 1)]
    complete = world.refused(Code.NAME_TAKEN, Verb.CREATESLICE, spec=SliceSpec(3, 3600))
    assert "already runs on its 3 nodes" in complete.reason


def test_stopped_and_started(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.STOP, nodes=("127.0.1.1",))
    assert world.states()["127.0.1.1"] == "stopped"
    world.run(Verb.RENEWSLICE)
    world.run(Verb.RESET)
    assert world.states()["127.0.1.1"] == "stopped"
    waits = world.start(Verb.NEWVMS)
    assert world.steps(waits.operation) == {}  # it was stopped: it waits for start
    started = world.run(Verb.START)
    assert len(world.steps(started.operation)) == 4
    assert set(world.states().values()) == {"running"}


def test_one_that_was_stopped_expires_and_is_deleted_as_any_other(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.STOP)
    world.execute("UPDATE svm.sliver SET expires_at = now() WHERE node = '127.0.1.1'")
    with world.database.begin() as connection:
        assert list(expire(connection).values()) == ["stopped"]
    world.run(Verb.DELETESLICE)
    assert set(world.states().values()) == {"deleted"}


def test_newtickets_with_tickets_left_is_refused(world: World) -> None:
    world.run(Verb.NEWTICKETS)
    assert "already has its 4 tickets" in world.refused(Code.NAME_TAKEN, Verb.NEWTICKETS).reason


def test_refused_tickets_leave_an_empty_slice_that_takes_a_new_file(world: World) -> None:
    few = final(Code.TOO_FEW_NODES, "2 of 4 nodes are available")
    started = world.run(Verb.CREATESLICE, failing={(Kind.NEWTICKETS, None): few})
    operation = world.operation(started.operation)
    assert (operation.outcome, operation.code, operation.reason) == ("failed", "too-few-nodes", few.reason)
    assert world.events(started.operation, "ended")[0].code == "too-few-nodes"
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, 7200))
    assert list(world.states().values()) == ["running", "running"]


def test_other_people_and_unknown_slices(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.refused(Code.NAME_TAKEN, Verb.CREATESLICE, owner=OTHER)
    world.refused(Code.NOT_OWNER, Verb.DELETESLICE, owner=OTHER)
    world.refused(Code.NOT_FOUND, Verb.RENEWSLICE, "nothing")
    with world.database.connect() as connection:
        for caller, name, code in ((OTHER, "demo", Code.NOT_OWNER), (OWNER, "nothing", Code.NOT_FOUND)):
            with pytest.raises(Refusal) as caught:
                find(connection, name, caller)
            assert caught.value.code is code


def test_a_node_that_is_not_in_the_slice_is_refused_and_nothing_is_done(world: World) -> None:
    world.run(Verb.NEWTICKETS)
    world.refused(Code.NOT_FOUND, Verb.NEWLEASES, nodes=("127.0.1.1", "127.0.9.9"))
    assert set(world.states().values()) == {"ticketed"}
    assert world.rows("SELECT 1 FROM svm.operation WHERE verb = 'newleases'") == []


def test_one_lifecycle_operation_at_a_time(world: World) -> None:
    first = world.start(Verb.CREATESLICE)
    refusal = world.refused(Code.BUSY, Verb.RENEWSLICE)
    assert refusal.detail["operation"] == str(first.operation)
    world.refused(Code.BUSY, Verb.CREATESLICE)
    world.start(Verb.ADDKEY, keys=(KEY,))


def test_the_same_request_again_is_the_same_operation(world: World) -> None:
    first = world.start(Verb.CREATESLICE, idempotency_key="k")
    again = world.start(Verb.CREATESLICE, idempotency_key="k")
    assert again.existing
    assert (again.operation, again.publish) == (first.operation, [])


def test_keys_reach_the_vms_that_are_there_and_those_made_later(world: World) -> None:
    world.run(Verb.CREATESLICE, failing={(Kind.NEWVMS, "127.0.1.4"): final()})
    added = world.run(Verb.ADDKEY, keys=(KEY,))
    assert len(world.steps(added.operation)) == 3
    later = world.run(Verb.NEWVMS)
    assert set(world.steps(later.operation)) == {("newvms", "127.0.1.4"), ("addkey", "127.0.1.4")}
    assert len(world.events(later.operation, "node")) == 1
    assert world.rows("SELECT DISTINCT key_generation FROM svm.sliver") == [(1,)]


def test_generations_of_the_key_set(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.ADDKEY, keys=(KEY, KEY_TWO))
    world.run(Verb.ADDKEY, keys=(KEY,))
    world.run(Verb.DELKEY, keys=(KEY_TWO,))
    world.run(Verb.NUKEKEYS)
    assert world.rows("SELECT key_generation FROM svm.slice") == [(3,)]
    assert world.rows("SELECT 1 FROM svm.slice_key") == []


def test_delkey_of_an_unknown_key_is_refused_unless_a_node_waits_for_it(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.refused(Code.NOT_FOUND, Verb.DELKEY, keys=(KEY,))
    world.refused(Code.BAD_INPUT, Verb.DELKEY, keys=())
    world.refused(Code.BAD_INPUT, Verb.ADDKEY, keys=())
    world.run(Verb.ADDKEY, keys=(KEY,))
    world.run(Verb.DELKEY, keys=(KEY,), failing={(Kind.DELKEY, "127.0.1.1"): final()})
    world.run(Verb.DELKEY, keys=(KEY,))
    world.refused(Code.NOT_FOUND, Verb.DELKEY, keys=(KEY,))


def test_renewslice_replaces_leases(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.RENEWSLICE, failing={(Kind.RENEW, "127.0.1.1"): final()})
    rows = world.rows("SELECT generation, lease, expires_at > now() AS valid FROM svm.sliver ORDER BY position")
    assert [row.generation for row in rows] == [1, 2, 2, 2]
    assert all(row.valid for row in rows)


def test_renewal_is_due_past_two_thirds_of_the_lease_and_not_everywhere_at_once(world: World) -> None:
    world.run(Verb.CREATESLICE)
    parts = world.rows("""SELECT extract(epoch FROM renew_at - changed_at) / extract(epoch FROM expires_at - changed_at)
                          FROM svm.sliver""")
    assert all(2 / 3 - 0.01 < part < 0.73 for (part,) in parts)
    assert len(set(parts)) == len(parts) == 4


def test_a_failed_renewal_is_due_again_before_the_lease_ends(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.RENEWSLICE, failing={(Kind.RENEW, "127.0.1.1"): final()})
    first, second = world.rows("SELECT renew_at, expires_at, now() AS now FROM svm.sliver ORDER BY position LIMIT 2")
    assert first.now < first.renew_at < first.now + (first.expires_at - first.now) / 7
    assert second.renew_at > second.now + (second.expires_at - second.now) / 2


def test_nothing_to_renew(world: World) -> None:
    world.run(Verb.NEWTICKETS)
    world.refused(Code.NOT_FOUND, Verb.RENEWSLICE)


def test_what_is_past_its_end_reads_as_expired(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s' WHERE node = '127.0.1.1'")
    with world.database.connect() as connection:
        found = find(connection, "demo", OWNER)
        assert found.nodes == {"running": 3, "expired": 1}
        assert slivers(connection, found.id)[0].state is SliverState.EXPIRED
        assert [one.name for one in owned(connection, OWNER)] == ["demo"]
        assert owned(connection, OTHER) == []


def test_every_commit_tells_listeners_once(world: World) -> None:
    with world.database.connect() as listener:
        listener.execute(text(f"LISTEN {CHANNEL}"))
        listener.commit()
        started = world.start(Verb.CREATESLICE)
        (ticket,) = world.claim(started.publish)
        world.record((ticket, tickets(["127.0.1.1", "127.0.1.2"])))
        driver = listener.connection.driver_connection
        assert driver
        payloads = [notification.payload for notification in driver.notifies(timeout=2, stop_after=2)]
    assert payloads == [str(started.operation)] * 2


def test_replacement(world: World) -> None:
    failing = {(Kind.NEWLEASES, "127.0.1.2"): final()}
    started = world.run(Verb.CREATESLICE, replace=True, failing=failing)
    operation = world.operation(started.operation)
    assert (operation.outcome, operation.ok, operation.failed) == ("done", 4, 0)
    nodes = {row.node: (row.ok, row.detail) for row in world.events(started.operation, "node")}
    assert nodes["127.0.1.2"] == (False, {"replaced": True})
    assert nodes["127.0.1.99"][0] is True
    assert world.states()["127.0.1.2"] == "deleting"
    assert list(world.states().values()).count("running") == 4


def test_no_node_is_left_to_replace_with(world: World) -> None:
    few = final(Code.TOO_FEW_NODES, "none is left")
    failing = {(Kind.NEWVMS, "127.0.1.2"): final(), (Kind.REPLACE, "127.0.1.2"): few}
    started = world.run(Verb.CREATESLICE, replace=True, failing=failing)
    operation = world.operation(started.operation)
    assert (operation.outcome, operation.ok, operation.failed) == ("partial", 3, 1)
    assert [row.code for row in world.events(started.operation, "node") if not row.ok] == [
        "unreachable",
        "too-few-nodes",
    ]
    assert world.states()["127.0.1.2"] == "leased"


def test_a_ticket_for_a_node_that_still_deletes_an_older_sliver(world: World) -> None:
    world.run(Verb.CREATESLICE, replace=True, failing={(Kind.NEWLEASES, "127.0.1.2"): final()})
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s' WHERE node = '127.0.1.1'")
    started = world.start(Verb.CREATESLICE)
    (ticket,) = world.claim(started.publish)
    world.record((ticket, tickets(["127.0.1.2"])))
    assert [row.code for row in world.events(started.operation, "node")] == ["busy"]
    assert world.operation(started.operation).outcome == "failed"


def test_autorenew_needs_a_standing_delegation(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.refused(Code.BAD_INPUT, Verb.AUTORENEW, autorenew=True)
    world.run(Verb.AUTORENEW, autorenew=True, standing=given(48))
    assert world.rows("SELECT autorenew FROM svm.slice") == [(True,)]
    world.run(Verb.AUTORENEW, autorenew=False)
    assert world.rows("SELECT autorenew, autorenew_until FROM svm.slice") == [(False, None)]


def test_createslice_with_autorenew(world: World) -> None:
    world.refused(Code.BAD_INPUT, Verb.CREATESLICE, autorenew=True)
    world.run(Verb.CREATESLICE, autorenew=True, standing=given(48))
    assert world.rows("SELECT autorenew FROM svm.slice") == [(True,)]


def test_heal_needs_a_delegation_that_covers_it(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.refused(Code.BAD_INPUT, Verb.HEAL, heal=True, standing=given(48))
    world.run(Verb.HEAL, heal=True, standing=given(48, heal=True))
    assert world.rows("SELECT heal FROM svm.slice") == [(True,)]


def test_undelegate_cancels_and_refuses_older_delegations(world: World) -> None:
    started = world.start(Verb.CREATESLICE, standing=given(48))
    world.refused(Code.BAD_INPUT, Verb.DELEGATE)
    world.run(Verb.UNDELEGATE, working=None)
    assert world.operation(started.operation).outcome == "cancelled"
    assert world.rows("SELECT working, standing, autorenew FROM svm.slice") == [(None, None, False)]
    world.refused(Code.NOT_ALLOWED, Verb.DELEGATE, working=None, standing=given(ago=100))
    world.run(Verb.DELEGATE, working=None, standing=given(ago=-5))
    assert world.rows("SELECT standing FROM svm.slice") == [("delegation",)]
