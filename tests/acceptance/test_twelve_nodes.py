"""Twelve nodes, half of them in trouble; what is printed then is typed until all is done (howto, partial failures)."""

import re
import shlex

from tests.acceptance.lab import SIMULATED, SOME_FAILED, Lab, Ran

SLICE = "twelve"


def test_retried_with_the_printed_commands_until_all_is_done(lab: Lab) -> None:
    nodes = lab.simulated
    assert len(nodes) == SIMULATED
    down, slow, full, refusing = nodes[:3], nodes[3], nodes[4], nodes[5]
    for node, fault in [*((d, "blackhole") for d in down), (slow, "slow=1"), (full, "over-capacity")]:
        lab.fault(node, fault)
    lab.fault(refusing, "refuse")
    try:
        made = lab.svm("-t", "1", "createslice", lab.slice_file(SLICE, SIMULATED, nodes)).must(SOME_FAILED)
        assert sorted(made.errors) == sorted([*down, full, refusing])
        assert sorted(made.successes) == sorted([slow, *nodes[6:]])
        assert re.search(r"7 ok · 5 failed: ", made.err)
        assert "1 over capacity" in made.err
        # Five at a time come back; each round types what the round before has printed.
        lab.fault(full, "ok")
        made = retried(lab, made, leaving=[*down, refusing])
        for node in down:
            lab.fault(node, "ok")
        made = retried(lab, made, leaving=[refusing])
    finally:
        lab.fault("all", "ok")
    retried(lab, made, leaving=[])
    assert sorted(lab.svm("nodelist", SLICE).must().lines) == sorted(nodes)
    assert sorted(lab.svm("deleteslice", SLICE).must().successes) == sorted(nodes)


def test_the_same_slice_file_goes_on_where_it_stopped(lab: Lab) -> None:
    bad, *good = lab.simulated[:3]
    lab.fault(bad, "refuse")
    try:
        file = lab.slice_file("halfway", 3, [bad, *good])
        lab.svm("-t", "1", "createslice", file).must(SOME_FAILED)
    finally:
        lab.fault(bad, "ok")
    assert lab.svm("createslice", file).must().successes == [bad]
    assert lab.svm("createslice", file).status == 1, "a complete slice lives"
    lab.svm("deleteslice", "halfway").must()


def retried(lab: Lab, failed: Ran, *, leaving: list[str]) -> Ran:
    """Type what `failed` printed, and what that prints; exactly `leaving` still fail then."""
    last = failed
    for command in lab.typed_again(failed):
        words = shlex.split(shlex.join(command))
        last = lab.run(words[0], "-t", "1", *[word for word in words[1:] if not is_timeout(word, words)])
    assert sorted(last.errors) == sorted(leaving), last.out + last.err
    return last


def is_timeout(word: str, words: list[str]) -> bool:
    """Whether a word is `-t` or its value; the test sets its own."""
    return word == "-t" or words[words.index(word) - 1] == "-t"
