"""What `svm` alone, `svm help` and a word of another tool show."""

import pytest

from svm.main import VERBS, run
from svm.overview import GROUPS, MEANT, grouped, meant, overview


def test_every_verb_stands_in_one_group() -> None:
    assert sorted(verb for group in GROUPS.values() for verb in group) == sorted(VERBS)
    assert set(MEANT.values()) <= set(VERBS)
    assert MEANT.keys().isdisjoint(VERBS)


def test_a_verb_of_no_group_stands_with_the_last() -> None:
    assert list(grouped(["touch", "config", "getads"])) == [
        ("From the howto", ["getads"]),
        ("Set up", ["config", "touch"]),
    ]


def test_svm_alone_is_short_and_begins_with_the_howto(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    said = capsys.readouterr().err
    assert said == overview(list(VERBS), 78) + "\n"
    assert said.count("\n") < 15
    assert max(map(len, said.splitlines())) <= 80
    assert said.splitlines()[2].startswith("  From the howto  getads  createslice")
    assert all(f" {verb}" in said for verb in VERBS)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help"]) == run(["--help"]) == 0
    both = capsys.readouterr().out
    half = len(both) // 2
    assert both[:half] == both[half:]
    assert "\nFrom the howto:\n  getads" in both
    assert run(["help", "createslice"]) == run(["createslice", "--help"]) == 0
    both = capsys.readouterr().out
    half = len(both) // 2
    assert both[:half] == both[half:]


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("create", "createslice"),
        ("ls", "slices"),
        ("list", "slices"),
        ("delete", "deleteslice"),
        ("exp", "expirations"),
    ],
)
def test_another_tools_word(word: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meant(word, list(VERBS))[0] == verb
    for words in ([word], ["help", word]):
        assert run(words) == 2
        assert f"no verb is called '{word}'; did you mean {verb}" in capsys.readouterr().err
