"""A node's inventory against the rows: pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from agent.client import FrontDoor
from lifecycle.inventory import Expected
from models.states import SliverState
from nodemgr.client import HappeningReply, SliverReply
from tasks.reconcile import Differences, compare
from trust.identity import Identity

OWNER = Identity.user("pi@a.example")


def row(state: SliverState = SliverState.RUNNING, **more: object) -> Expected:
    end = datetime.now(UTC)
    made = Expected(
        uuid4(), "demo", uuid4(), OWNER, 60, False, "n1", state, 1, end, "jti", 2, 2, settled=True, delegation="d"
    )
    return replace(made, **more)  # type: ignore[arg-type]


def item(of: Expected, **more: object) -> SliverReply:
    end, door = datetime.now(UTC), FrontDoor("127.0.1.1", 2222, "key")
    made = SliverReply(of.name, of.slice_id, str(OWNER), "running", 1, 2, end, door, has_vm=True)
    return replace(made, **more)  # type: ignore[arg-type]


def test_all_is_well() -> None:
    one = row()
    found = compare([one], [item(one)])
    assert found == Differences()


@pytest.mark.parametrize("state", [SliverState.DELETING, SliverState.DELETED])
def test_what_svmd_made_and_wants_gone_is_deleted(state: SliverState) -> None:
    one = row(state)
    assert compare([one], [item(one)]).delete == (one,)


def test_what_is_gone_is_written_down() -> None:
    one = row(SliverState.DELETING)
    assert compare([one], []).gone == (one.slice,)
    assert compare([row(SliverState.DELETED)], []).gone == ()


def test_what_svmd_did_not_make_is_only_reported() -> None:
    one = row()
    found = compare([], [item(one)])
    assert found.delete == ()
    assert [(f.what, f.slice_id) for f in found.report] == [("orphan", one.slice_id)]


def test_another_slice_of_that_name_is_another_slice() -> None:
    one = row(SliverState.DELETING)
    found = compare([one], [item(one, slice_id=uuid4())])
    assert found.delete == ()
    assert [f.what for f in found.report] == ["orphan"]


def test_keys_behind_are_pushed() -> None:
    behind, elsewhere = row(key_generation=1), row()
    assert compare([behind], [item(behind)]).push == (behind,)
    assert compare([elsewhere], [item(elsewhere, key_generation=0)]).push == (elsewhere,)
    assert compare([row(SliverState.LEASED, key_generation=0)], []).push == ()


def test_a_lease_whose_renewal_the_node_has_lost_is_renewed_once_things_have_settled() -> None:
    one = row(generation=2)
    assert compare([one], [item(one, generation=1)]).renew == (one,)
    assert compare([one], [item(one, generation=2)]).renew == ()
    young = replace(one, settled=False)
    assert compare([young], [item(young, generation=1)]).renew == ()


@pytest.mark.parametrize(("there", "renewed_from"), [(2, 1), (3, 2), (7, 6)])
def test_a_lease_whose_answer_was_lost_is_asked_for_again(there: int, renewed_from: int) -> None:
    """Renewing from the generation before it, which makes no new one."""
    one = row(generation=1)
    assert compare([one], [item(one, generation=there)]).renew == (replace(one, generation=renewed_from),)
    young = replace(one, settled=False)
    assert compare([young], [item(young, generation=there)]).renew == ()


def test_what_came_back_after_its_owners_permission_had_gone_is_reported() -> None:
    one = row(SliverState.DELETED, delegation=None)
    found = compare([one], [item(one)])
    assert found.delete == ()
    assert [f.what for f in found.report] == ["orphan"]


def test_a_vm_that_is_not_there_is_reported_once_things_have_settled() -> None:
    one = row()
    assert [f.what for f in compare([one], []).report] == ["missing"]
    assert [f.what for f in compare([one], [item(one, has_vm=False)]).report] == ["missing"]
    young = replace(one, settled=False)
    assert compare([young], []).report == ()
    assert compare([young], [item(young, has_vm=False)]).report == ()


def test_what_happened_is_told_once() -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    told = tuple(HappeningReply(then + timedelta(seconds=n), f"it {n}") for n in range(12))
    one = row()
    assert compare([one], [item(one, happened=told)]).happened == ((one, told[-8:]),)
    heard = replace(one, heard_at=told[9].at)
    assert compare([heard], [item(heard, happened=told)]).happened == ((heard, told[10:]),)
    assert compare([replace(one, heard_at=told[11].at)], [item(one, happened=told)]).happened == ()
    stopped = row(SliverState.STOPPED)
    found = compare([stopped], [item(stopped, has_vm=False, state="leased", happened=told[:1])])
    assert found.happened == ((stopped, told[:1]),)


@pytest.mark.parametrize("state", [SliverState.TICKETED, SliverState.EXPIRED, SliverState.LEASED])
def test_other_states_need_nothing(state: SliverState) -> None:
    one = row(state)
    found = compare([one], [item(one)])
    assert found == Differences()
