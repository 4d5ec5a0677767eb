"""What hooks are told, when: in the transaction in which it happens, each state once an hour."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from lifecycle import hooks
from lifecycle.notices import announce
from lifecycle.operations import BEAT, SliceSpec
from lifecycle.outbox import Delivery, came_to, take
from lifecycle.outcome import Failed
from lifecycle.retention import forget, purge
from lifecycle.seal import Seal
from lifecycle.transitions import expire, learn, remove
from models.states import HookState, Kind, Verb
from rpc.fate import Fate
from tests.integration.lifecycle.test_locks import BLOCKED
from tests.integration.lifecycle.world import OWNER, World, given
from trust.errors import Code, Refusal

SEAL = Seal(bytes(32))
URL = "https://example.org/hook"
WEEK = 7 * 86_400


def row_of(world: World, name: str = "demo") -> UUID:
    found = world.rows("SELECT id FROM svm.slice WHERE name = :name ORDER BY created_at DESC LIMIT 1", name=name)
    return UUID(str(found[0].id))


def hooked(world: World, *states: HookState, url: str = URL, **options: Any) -> UUID:
    """A slice with a hook, for all states where none is named; its row."""
    world.run(Verb.CREATESLICE, **options)
    return hook(world, *states, url=url)


def hook(world: World, *states: HookState, url: str = URL) -> UUID:
    row = row_of(world)
    with world.database.begin() as connection:
        hooks.put(connection, row, url, states or tuple(HookState), SEAL)
    return row


def due(world: World) -> list[Delivery]:
    with world.database.begin() as connection:
        return take(connection, letters=False)


def told(world: World) -> list[tuple[str, str]]:
    """(state, why) of what is due now, as sent."""
    found = due(world)
    with world.database.begin() as connection:
        for one in found:
            came_to(connection, one, Fate.SENT, "", 204)
    return [(one.about, str(one.body.get("reason") or one.body.get("verb") or one.body.get("what"))) for one in found]


def renewal_fails(node: str) -> dict[tuple[Kind, str | None], Failed]:
    return {(Kind.RENEW, node): Failed(Code.UNREACHABLE, "no answer")}


def an_hour_passes(world: World) -> None:
    world.execute("""UPDATE svm.delivery SET due_at = due_at - interval '1 hour', made_at = made_at - interval '1 hour',
                     next_try_at = next_try_at - interval '1 hour'""")


def test_nothing_is_written_for_a_slice_without_hooks(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.DELETESLICE)
    assert world.rows("SELECT id FROM svm.delivery") == []


def test_what_goes_well_is_not_told(world: World) -> None:
    hooked(world)
    world.run(Verb.RENEWSLICE)
    assert told(world) == []


def test_an_operation_that_failed_at_some_nodes(world: World) -> None:
    hooked(world)
    world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.2"))
    (one,) = due(world)
    assert one.about == "failed"
    assert {name: one.body[name] for name in ("verb", "by", "ok", "failed")} == {
        "verb": "renewslice",
        "by": "user",
        "ok": 3,
        "failed": 1,
    }
    assert one.body["nodes"] == [{"node": "127.0.1.2", "code": "unreachable", "reason": "no answer"}]


def test_of_one_state_a_hook_hears_once_an_hour_and_nothing_is_lost(world: World) -> None:
    hooked(world)
    for node in ("127.0.1.1", "127.0.1.2", "127.0.1.3"):
        world.run(Verb.RENEWSLICE, failing=renewal_fails(node))
        if node == "127.0.1.1":
            assert [state for state, _ in told(world)] == ["failed"]
    assert due(world) == []
    an_hour_passes(world)
    (one,) = due(world)
    assert (one.events, one.body["nodes"][0]["node"]) == (2, "127.0.1.3")
    assert due(world) == []


def test_what_was_tried_once_stays_as_it_is(world: World) -> None:
    """What happens between two tries is another message: the first keeps its id and its bytes."""
    hooked(world)
    world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.1"))
    (first,) = due(world)
    with world.database.begin() as connection:
        came_to(connection, first, Fate.LATER, "it answered 503", 503)
    world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.2"))
    world.execute("UPDATE svm.delivery SET next_try_at = now() WHERE attempts > 0")
    (again,) = due(world)
    assert (again.id, again.body, again.events, again.attempts) == (first.id, first.body, 1, 2)


def test_a_hook_is_told_only_what_it_wants(world: World) -> None:
    hooked(world, HookState.ENDED)
    hook(world, HookState.FAILED, url="https://example.org/other")
    world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.1"))
    world.run(Verb.DELETESLICE)
    assert sorted((one.url, one.about) for one in due(world)) == [
        ("https://example.org/hook", "ended"),
        ("https://example.org/other", "failed"),
    ]


def test_leases_that_run_out(world: World) -> None:
    hooked(world)
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s' WHERE node = '127.0.1.1'")
    with world.database.begin() as connection:
        expire(connection)
    assert told(world) == []
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s'")
    for _ in range(2):
        with world.database.begin() as connection:
            expire(connection)
    assert told(world) == [("ended", "its leases have run out")]
    with world.database.begin() as connection:
        purge(connection, OWNER)
    assert due(world) == []


def test_leases_that_run_out_just_before_the_slice_is_purged(world: World) -> None:
    hooked(world)
    world.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s'")
    with world.database.begin() as connection:
        assert purge(connection, OWNER) == ["demo"]
    assert told(world) == [("ended", "its leases have run out")]


def test_a_slice_that_its_owner_deletes(world: World) -> None:
    hooked(world)
    world.run(Verb.DELETESLICE)
    assert told(world) == [("ended", "its owner deletes it")]


def test_a_slice_that_never_had_a_lease_has_not_ended(world: World) -> None:
    world.run(Verb.NEWTICKETS)
    hook(world)
    world.run(Verb.DELETESLICE)
    assert due(world) == []


def test_a_vm_that_ended_by_itself_and_one_that_its_owner_stopped(world: World) -> None:
    row = hooked(world)
    world.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    (now,) = world.rows("SELECT now() AS now")
    with world.database.begin() as connection:
        learn(connection, (row, "127.0.1.1"), "found stopped", (now.now, Code.NOT_FOUND, "its VM ended by itself"))
        learn(connection, (row, "127.0.1.2"), "found stopped")
    (one,) = due(world)
    assert (one.about, one.body["nodes"]) == ("failed", [{"node": "127.0.1.1", "reason": "its VM ended by itself"}])


def test_slivers_that_the_operator_removes(world: World) -> None:
    row = hooked(world, spec=SliceSpec(1, 3600))
    world.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    with world.database.begin() as connection:
        remove(connection, (row, "127.0.1.1"), Code.NOT_ALLOWED, "removed by the operator: broken")
    assert sorted(state for state, _ in told(world)) == ["ended", "failed"]


def test_a_node_that_was_replaced(world: World) -> None:
    hooked(world, HookState.HEALED)
    world.run(Verb.REPLACE, nodes=("127.0.1.1",), replace=True, actor=BEAT)
    (one,) = due(world)
    assert (one.about, one.body["verb"], one.body["by"]) == ("healed", "replace", "beat")


def test_a_deadline_that_comes(world: World) -> None:
    hooked(world, spec=SliceSpec(2, WEEK))
    world.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 hours'")
    with world.database.begin() as connection:
        announce(connection)
    (one,) = due(world)
    assert (one.about, one.body["what"], one.body["days"]) == ("ending", "lease", 1)


def test_autorenew_that_ends(world: World) -> None:
    hooked(world, autorenew=True, standing=given(60))
    with world.database.begin() as connection:
        announce(connection)
    assert told(world) == [("ending", "autorenew")]


def test_what_nobody_takes_is_tried_later_and_later_and_given_up_after_days(world: World) -> None:
    hooked(world)
    world.run(Verb.DELETESLICE)
    pauses = []
    for _ in range(3):
        (one,) = due(world)
        with world.database.begin() as connection:
            came_to(connection, one, Fate.LATER, "it answered 500", 500)
        (row,) = world.rows("SELECT next_try_at - now() AS pause, given_up_at, last_error FROM svm.delivery")
        assert row.given_up_at is None
        pauses.append(row.pause)
        world.execute("UPDATE svm.delivery SET next_try_at = now()")
    assert timedelta(0) < pauses[0] < pauses[1] < pauses[2]
    world.execute("UPDATE svm.delivery SET made_at = now() - interval '71 hours 59 minutes'")
    (one,) = due(world)
    world.execute("UPDATE svm.delivery SET made_at = now() - interval '73 hours'")
    with world.database.begin() as connection:
        came_to(connection, one, Fate.LATER, "it answered 500", 500)
        (found,) = hooks.listed(connection, row_of(world))
    assert found.given_up_at is not None
    assert (found.status, found.last_error) == (500, "it answered 500")


def test_one_that_wants_no_more_of_it(world: World) -> None:
    hooked(world)
    world.run(Verb.DELETESLICE)
    (one,) = due(world)
    with world.database.begin() as connection:
        came_to(connection, one, Fate.NEVER, "it answered 410: it wants no more", 410)
    world.execute("UPDATE svm.delivery SET next_try_at = now()")
    assert due(world) == []


def test_a_url_that_is_added_again_is_one_hook_with_another_secret(world: World) -> None:
    row = hooked(world)
    world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.1"))
    with world.database.begin() as connection:
        secret = hooks.put(connection, row, URL, (HookState.FAILED,), SEAL)
        (found,) = hooks.listed(connection, row)
    assert found.states == (HookState.FAILED,)
    (one,) = due(world)
    assert one.hook is not None
    assert one.sealed_secret is not None
    assert SEAL.open(one.hook, one.sealed_secret) == secret


def test_a_slice_has_so_many_hooks(world: World) -> None:
    row = hooked(world)
    with world.database.begin() as connection:
        for number in range(1, hooks.MOST_HOOKS):
            hooks.put(connection, row, f"{URL}/{number}", tuple(HookState), SEAL)
    with world.database.begin() as connection, pytest.raises(Refusal, match="at most 10 hooks"):
        hooks.put(connection, row, f"{URL}/more", tuple(HookState), SEAL)


def test_a_hook_that_is_taken_away_hears_nothing_more(world: World) -> None:
    row = hooked(world)
    world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.1"))
    with world.database.begin() as connection:
        hooks.remove(connection, row, URL)
    assert due(world) == []
    with world.database.begin() as connection, pytest.raises(Refusal, match="svm hook SLICE list"):
        hooks.remove(connection, row, URL)


def test_one_that_is_taken_away_while_an_operation_ends(world: World) -> None:
    """The operation's record waits, and does not fail."""
    row = hooked(world)
    with ThreadPoolExecutor(1) as pool:
        with world.database.begin() as removing:
            hooks.remove(removing, row, URL)
            pid, end = removing.scalar(text("SELECT pg_backend_pid()")), time.monotonic() + 60
            done = pool.submit(lambda: world.run(Verb.RENEWSLICE, failing=renewal_fails("127.0.1.1")))
            while not world.rows(BLOCKED, pid=pid):
                assert not done.done(), "it does not wait at all"
                assert time.monotonic() < end
                time.sleep(0.01)
        done.result()
    assert world.rows("SELECT id FROM svm.delivery") == []
    assert {found.outcome for found in world.rows("SELECT outcome FROM svm.operation")} == {"done", "partial"}


def test_old_ones_are_forgotten_with_their_secrets(world: World) -> None:
    hooked(world)
    world.run(Verb.DELETESLICE)
    with world.database.begin() as connection:
        forget(connection, 365)
    assert len(world.rows("SELECT id FROM svm.delivery")) == 1
    world.execute("UPDATE svm.slice SET state = 'deleted', sealed_key = NULL, ended_at = now() - interval '8 days'")
    with world.database.begin() as connection:
        forget(connection, 365)
    assert world.rows("SELECT id FROM svm.hook") == []
