"""Slices as a file declares them: docs/declared.md as it is typed, and what comes after."""

import re
from pathlib import Path

import pytest

from tests.acceptance.lab import DONE, SOME_FAILED, USAGE, Lab
from tests.acceptance.test_howto_page import commands, missing

PAGE = Path(__file__).parents[2] / "docs" / "declared.md"


@pytest.mark.timeout(300)
def test_the_page_and_on(lab: Lab) -> None:
    nodes = [*lab.real, *lab.simulated]
    key, other = lab.key("id_declared"), lab.key("id_new")
    page = re.sub(r"127\.0\.1\.(\d+)", lambda found: nodes[int(found[1]) - 1], PAGE.read_text())
    page = page.replace("id_slice", key)
    file = lab.folder / "dslice.toml"
    (told,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    file.write_text(told)
    for typed in commands(page):
        ran = lab.run("bash", "-c", typed.command).must()
        printed = [line for line in f"{ran.out}{ran.err}".splitlines() if line.strip()]
        assert not missing(typed.lines, printed), f"$ {typed.command}\n{ran.out}{ran.err}"
    assert lab.svm("apply").must().out == ""
    assert sorted(lab.svm("nodelist", "probe").lines) == sorted(nodes[:2])
    # Another key, no renewal; and one slice that is to go.
    file.write_text(told.replace(key, other).replace("2030-12-24", "false").partition("[slices.probe]")[0])
    with file.open("a") as more:
        more.write("[slices.probe]\nabsent = true\n")
    shown = [line[:14] for line in lab.svm("plan").must().lines]
    assert shown == ["+ oceanstore: ", "- oceanstore: ", "~ oceanstore: ", "- probe: delet"]
    lab.svm("apply").must()
    assert lab.svm("plan").must().err == "nothing to do\n"
    assert [row.split()[0] for row in lab.svm("slices").lines if "probe" in row] == []
    file.write_text("[slices.oceanstore]\nabsent = true\n")
    lab.svm("apply").must()


def test_one_slice_that_cannot_be_had_leaves_the_others(lab: Lab) -> None:
    full, good = lab.simulated[9:11]
    file = lab.folder / "mixed.toml"
    file.write_text(
        f'[slices.toomany]\nnodes = 5000\nheal = true\n[slices.halfdone]\nnodes = ["{full}", "{good}"]\nheal = true\n'
    )
    lab.fault(full, "over-capacity")
    try:
        ran = lab.svm("apply", "mixed.toml").must(SOME_FAILED)
    finally:
        lab.fault("all", "ok")
    assert "too few nodes" in ran.err
    assert "Try again with: svm apply mixed.toml" in ran.err
    assert ran.successes == [good]
    assert [line for line in lab.svm("plan", "mixed.toml").lines if "halfdone" in line] == [
        "~ halfdone: make what is lacking: 1 of 2 run"
    ]
    lab.svm("apply", "mixed.toml").must(SOME_FAILED)
    assert [line for line in lab.svm("plan", "mixed.toml").lines if "halfdone" in line] == []
    for name in ("halfdone", "toomany"):
        lab.svm("deleteslice", name).must()


def test_a_file_that_makes_no_sense(lab: Lab) -> None:
    (lab.folder / "bad.toml").write_text("[slices.a]\nnode = 3\n")
    for verb in ("plan", "apply"):
        ran = lab.svm(verb, "bad.toml").must(USAGE)
        assert ran.err.startswith("svm: bad.toml: a: 'node' is not known; known are nodes,")
        assert ran.err.count("\n") == 1
    assert lab.svm("slices").status == DONE
