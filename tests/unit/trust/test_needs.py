"""What a slice needs: strict in, nothing but what was said out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import Code, Refusal
from trust.needs import BOUNDS, NOTHING, Needs, needed, words

NUMBERS = {name: st.none() | st.integers(*bounds) for name, bounds in BOUNDS.items()}


@given(st.builds(Needs, image=st.none() | st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True), **NUMBERS))
def test_any_needs_come_back_as_they_were_sent(needs: Needs) -> None:
    assert Needs.from_json(needs.to_json()) == needs
    assert None not in needs.to_json().values()
    assert bool(needs) is bool(needs.to_json())
    assert bool(str(needs)) is bool(needs)


@pytest.mark.parametrize("name", BOUNDS)
def test_numbers_keep_within_their_bounds(name: str) -> None:
    least, most = BOUNDS[name]
    for wrong in (least - 1, most + 1, float(least), str(least), True, None):
        with pytest.raises(Refusal) as refusal:
            Needs.from_json({name: wrong})
        assert refusal.value.code is Code.BAD_INPUT
        assert name in refusal.value.reason


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, [], "memory", {"memory": 4096}, {1: 2}, {"digest": "ab" * 32}, {"image": "a", "digest": "AB" * 32}),
        *({"image": name} for name in ("", "a/b", "x\n", "A", "a" * 64, 1)),
    ],
)
def test_what_is_no_need_is_refused(wrong: object) -> None:
    with pytest.raises(Refusal):
        Needs.from_json(wrong)
    with pytest.raises(ValueError, match=r"need|must"):
        needed(wrong)


def test_in_words() -> None:
    needs = Needs(memory_mb=4096, processes=64, image="bookworm", digest="ab" * 32)
    assert str(needs) == "memory 4,096 MiB, processes 64, image bookworm"
    assert str(NOTHING) == ""
    assert words({"memory_mb": 512, "gpus": 3}) == "memory 512 MiB"  # of a newer svmd


def test_an_image_gets_one_digest_and_keeps_it() -> None:
    assert Needs(memory_mb=64).of_digest("ab" * 32) == Needs(memory_mb=64)
    chosen = Needs(image="a").of_digest("ab" * 32)
    assert chosen.digest == "ab" * 32
    assert chosen.of_digest("cd" * 32) == chosen
