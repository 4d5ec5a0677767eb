"""What one owner may make the tables hold."""

import pytest

from lifecycle import bounds
from lifecycle.operations import Verb
from tests.integration.lifecycle.world import KEY, KEY_TWO, OTHER, World
from trust.errors import Code


def test_one_owner_has_so_many_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_SLICES", 2)
    for name in ("one", "two"):
        world.start(Verb.CREATESLICE, name)
    assert "svm deleteslice" in world.refused(Code.OVER_CAPACITY, Verb.NEWTICKETS, "three").reason
    world.start(Verb.CREATESLICE, "three", owner=OTHER)
    world.run(Verb.DELETESLICE, "two")
    world.start(Verb.CREATESLICE, "four")


def test_one_owner_asks_for_so_much_and_may_always_take_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_OPERATIONS", 2)
    world.start(Verb.CREATESLICE)
    world.start(Verb.ADDKEY, keys=(KEY,))
    assert "within an hour" in world.refused(Code.OVER_CAPACITY, Verb.ADDKEY, "demo", keys=(KEY_TWO,)).reason
    world.start(Verb.DELKEY, keys=(KEY,))
    world.start(Verb.DELETESLICE)
    world.start(Verb.CREATESLICE, "other", owner=OTHER)


def test_a_slice_has_so_many_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_KEYS", 1)
    world.start(Verb.CREATESLICE)
    assert "svm delkey" in world.refused(Code.OVER_CAPACITY, Verb.ADDKEY, "demo", keys=(KEY, KEY_TWO)).reason
    world.start(Verb.ADDKEY, keys=(KEY,))
    assert "svm delkey" in world.refused(Code.OVER_CAPACITY, Verb.ADDKEY, "demo", keys=(KEY_TWO,)).reason
    world.start(Verb.DELKEY, keys=(KEY,))
    world.start(Verb.ADDKEY, keys=(KEY_TWO,))
