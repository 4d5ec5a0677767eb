"""What owners are told, once, in time."""

from lifecycle.notices import announce, sent, to_send
from lifecycle.operations import SliceSpec
from models.states import Verb
from tests.integration.lifecycle.world import World, given

WEEK = 7 * 86_400


def told(world: World) -> list[tuple[str, int]]:
    with world.database.begin() as connection:
        announce(connection)
        found = to_send(connection)
        for notice in found:
            sent(connection, notice)
    return [(notice.about, notice.days) for notice in found]


def ends_in(world: World, hours: int) -> None:
    world.execute(
        "UPDATE svm.sliver SET expires_at = date_trunc('minute', now()) + make_interval(hours => :h)", h=hours
    )


def test_leases_that_nobody_renews(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, WEEK))
    assert told(world) == []
    ends_in(world, 70)
    assert told(world) == [("lease", 3)]
    assert told(world) == []
    world.execute("UPDATE svm.notice SET deadline = deadline - interval '48 hours'")
    world.execute("UPDATE svm.sliver SET expires_at = expires_at - interval '48 hours'")
    assert told(world) == [("lease", 1)]
    assert told(world) == []


def test_only_the_nearer_warning_when_both_are_due(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, WEEK))
    ends_in(world, 20)
    assert told(world) == [("lease", 1)]


def test_short_leases_are_nobodys_surprise(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, 3600))
    assert told(world) == []


def test_autorenew_before_its_end(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, 3600), autorenew=True, standing=given(60))
    assert told(world) == [("autorenew", 3)]


def test_a_renewed_lease_has_a_deadline_of_its_own(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, WEEK))
    ends_in(world, 20)
    assert told(world) == [("lease", 1)]
    world.run(Verb.RENEWSLICE)
    assert told(world) == []
    ends_in(world, 19)
    assert told(world) == [("lease", 1)]


def test_a_letter_that_was_not_taken_is_tried_again(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(2, WEEK))
    ends_in(world, 20)
    with world.database.begin() as connection:
        announce(connection)
        (notice,) = to_send(connection)
        assert to_send(connection) == []
    assert "svm renewslice demo" in notice.body
    world.execute("UPDATE svm.notice SET tried_at = now() - interval '1 hour'")
    with world.database.begin() as connection:
        assert to_send(connection) == [notice]
