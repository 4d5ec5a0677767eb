"""What owners are told, once, in time."""

from lifecycle.letters import body
from lifecycle.notices import announce
from lifecycle.operations import SliceSpec
from lifecycle.outbox import came_to, take
from models.states import Verb
from rpc.fate import Fate
from tests.integration.lifecycle.world import World, given

WEEK = 7 * 86_400


def told(world: World) -> list[tuple[str, int]]:
    with world.database.begin() as connection:
        announce(connection)
        found = take(connection, letters=True)
        for one in found:
            came_to(connection, one, Fate.SENT, "")
    return [(one.about, one.body["days"]) for one in found]


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
        (letter,) = take(connection, letters=True)
        assert take(connection, letters=True) == []
    assert "svm renewslice demo" in body(letter)
    world.execute("UPDATE svm.delivery SET next_try_at = now()")
    with world.database.begin() as connection:
        (again,) = take(connection, letters=True)
    assert again.id == letter.id
