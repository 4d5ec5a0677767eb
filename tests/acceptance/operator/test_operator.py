"""docs/operating.md, "The operator's hand": every command there, typed on a testbed of its own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.commands import _started
from testbed.home import Home
from tests.acceptance.lab import DONE, FAILED, NOT_ALLOWED, PI, USER, Lab, Ran, until

PAGE = Path(__file__).parents[3] / "docs/operating.md"
OPERATOR = "operator@testbed.example"
REASON = "abuse of the network"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Four simulated nodes that look for orders each second, and for svmd's differences, too."""
    made = Lab(tmp_path_factory.mktemp("operator"))
    short = {"DSLICE_STOPS_SECONDS": "1", "DSLICE_USAGE_SECONDS": "1", "DSLICE_RECONCILE_SECONDS": "3"}
    made.up(real=0, simulated=4, **short)
    try:
        yield made
    finally:
        made.down()


def rows(ran: Ran) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, ran.must().lines) if row["type"] == "row"]


def names_of(lab: Lab, name: str) -> list[str]:
    """Names of the nodes of a slice."""
    return [str(row["name"]) for row in rows(lab.dslice("slice", name, "--json"))]


def made(lab: Lab, name: str, numnodes: int = 2) -> list[str]:
    lab.svm("createslice", lab.slice_file(name, numnodes)).must()
    return names_of(lab, name)


def test_every_command_of_the_page_is_typed_here() -> None:
    """Here, or in test_restore.py."""
    text = PAGE.read_text().partition("## The operator's hand")[2].partition("## A full disk")[0]
    verbs = re.findall(
        r"`dslice (nodes?|slices?|evict|orphans?|usage|backup|restore)(?: (drain|undrain|retire|delete|free))?", text
    )
    assert len(set(verbs)) > 10
    typed = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for verb in verbs:
        words = ", ".join(f'"{word}"' for word in verb if word)
        assert f"dslice({words}" in typed or f"({words}" in typed, words


def test_nodes(lab: Lab) -> None:
    found = {row["node"]: row for row in rows(lab.dslice("nodes", "--json"))}
    assert sorted(found) == ["s1", "s2", "s3", "s4"]
    one = found["s1"]
    assert (one["up"], one["driver"], one["drain"], one["address"]) == (True, "simulated", None, lab.simulated[0])
    shown = lab.dslice("nodes").must()
    assert shown.lines[0].split()[:4] == ["NODE", "ADDRESS", "SITE", "STATE"]
    assert "4 of 4 nodes are up" in shown.err
    assert lab.dslice("nodes", "--silent").must().out == ""
    assert lab.dslice("nodes", "--drained").must().out == ""


def test_a_node_that_never_advertised_is_named(lab: Lab) -> None:
    token = lab.dslice("plc", "token", "node", "lost", "127.0.9.9").must().out.strip()
    folder = str(lab.folder / "lost")
    plc = json.loads(
        next(iter((lab.home / "users" / PI).glob("config.toml"))).read_text().split("=")[1].splitlines()[0]
    )
    lab.dslice("enroll", "--token", token, "--plc", plc, "--dir", folder).must()
    shown = lab.dslice("nodes", "--silent").must()
    assert "never advertised" in shown.out
    assert "4 of 5 nodes are up; missing: lost (never advertised)" in shown.err
    refused = lab.dslice("node", "retire", "lost", "--reason", "no such machine").must(5)
    assert "say --lost" in refused.err
    lab.dslice("node", "retire", "lost", "--lost", "--reason", "no such machine").must()
    assert "4 of 4 nodes are up" in lab.dslice("nodes").must().err
    assert "no such machine" in lab.dslice("plc", "history", "node/lost").must().out


def test_drain_and_undrain(lab: Lab) -> None:
    first, second = made(lab, "drained")
    lab.dslice("node", "drain", first, "--until", "2099-12-24", "--no-renew", "--reason", "new disk").must()
    lab.letter(PI, f"Node {first} takes no new slivers")
    (row,) = rows(lab.dslice("nodes", "--drained", "--json"))
    assert row["node"] == first
    assert row["drain"] is not None
    until(lambda: lab.svm("createslice", "--dry-run", lab.slice_file("four", 4)).status != DONE)
    until(
        lambda: "drained: " in lab.svm("createslice", lab.slice_file("four", 4)).err
    )  # the node hears before its agent
    refused = lab.svm("createslice", lab.slice_file("four", 4)).must(FAILED)
    assert "drained: " in refused.err + refused.out

    def renewed() -> Ran:
        return lab.svm("renewslice", "drained")

    until(lambda: "renews no lease: new disk" in renewed().out)
    assert len(renewed().successes) == 1
    lab.dslice("node", "undrain", first).must()
    until(lambda: renewed().status == DONE)
    done = lab.dslice("plc", "history", f"node/{first}").must().lines
    assert [line.split()[4] for line in done[-2:]] == ["drain", "undrain"]
    assert second in names_of(lab, "drained")
    lab.svm("deleteslice", "drained").must()


def test_drain_has_slices_that_heal_move(lab: Lab) -> None:
    """The old sliver stays until the new one runs, and goes then."""
    old, other = made(lab, "moving")
    lab.svm("heal", "moving", "on").must()
    shown = lab.dslice("node", "drain", old, "--replace", "--reason", "new disk").must()
    assert "slices that heal get other nodes now" in shown.err

    def there() -> dict[str, str]:
        return {str(row["name"]): str(row["state"]) for row in rows(lab.dslice("slice", "moving", "--json"))}

    until(lambda: list(there().values()).count("running") == 2 and there().get(old) != "running")
    assert other in there()
    until(lambda: old not in there())
    (row,) = [row for row in rows(lab.dslice("nodes", "--json")) if row["node"] == old]
    assert (row["slivers"], row["drain"]["replaces"]) == (0, True)
    assert "drained (new disk): " in lab.svm("history", "moving").must().out
    lab.dslice("node", "undrain", old).must()
    lab.svm("deleteslice", "moving").must()


def test_slices_and_one_slice(lab: Lab) -> None:
    assert "no node 'n99' is enrolled" in lab.dslice("node", "undrain", "n99").must(FAILED).err
    nodes = made(lab, "shown")
    assert "shown" in {row["name"] for row in rows(lab.dslice("slices", "--json"))}
    for words, found in (
        (("--owner", PI), 1),
        (("--owner", USER), 0),
        (("--node", nodes[0]), 1),
        (("--node", "s9"), 0),
        (("--site", "Princeton"), 1),
        (("--site", "Berkeley"), 0),
        (("--expired",), 0),
    ):
        there = [row["name"] for row in rows(lab.dslice("slices", "--json", *words))]
        assert there.count("shown") == found, words
    assert "shown" in lab.dslice("slices").must().out
    shown = lab.dslice("slice", "shown").must()
    assert shown.lines[0].startswith(f"shown of {PI}: open, 2 of 2 running")
    assert "svmd knows no slice 'unheard'" in lab.dslice("slice", "unheard").must(FAILED).err
    lab.svm("deleteslice", "shown").must()


def test_evict(lab: Lab) -> None:
    first, _ = made(lab, "evicted")
    assert "has no sliver on s9" in lab.dslice("evict", "evicted", "s9", "--reason", REASON).must(FAILED).err
    assert lab.dslice("evict", "evicted", first, "--reason", REASON).must().successes == [first]
    lab.letter(PI, "evicted: slivers removed by the operator")

    def said() -> str:
        return lab.svm("status", "evicted").out

    # Nothing is said of a sliver that changed within 30 s: a step may be at work there.
    until(lambda: f"removed by PlanetLab's operator: {REASON}" in said())
    assert REASON in lab.svm("history", "evicted").must().out
    lab.svm("createslice", "evicted.xml").must()
    lab.svm("deleteslice", "evicted").must()


def test_delete(lab: Lab) -> None:
    nodes = made(lab, "deleted")
    assert sorted(lab.dslice("slice", "delete", "deleted", "--reason", REASON).must().successes) == sorted(nodes)
    lab.letter(PI, "deleted: deleted by the operator")
    assert REASON in lab.dslice("plc", "history", PI).must().out
    lab.svm("history", "deleted").must()


def test_usage(lab: Lab) -> None:
    made(lab, "used")
    until(lambda: any(row["of"] == "used" for row in rows(lab.dslice("usage", "--by", "slice", "--json"))))
    for by, of in (("user", PI), ("site", "Princeton"), ("slice", "used"), ("node", "s1")):
        shown = lab.dslice("usage", "--by", by, "--since", "2020-01-01", "--until", "2099-01-01", "--csv").must()
        assert shown.lines[0].startswith(by)
        assert any(line.startswith(of) for line in shown.lines), (by, shown.out)
    mine = lab.svm("usage").must()
    assert "used" in mine.out
    assert "sliver-hours granted" in mine.err
    lab.svm("deleteslice", "used").must()


def test_an_admin_does_it_from_anywhere_and_nobody_else(lab: Lab) -> None:
    """The seeded operator's account, with a certificate of its own."""
    home = lab.home / "users" / OPERATOR
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text((lab.home / "users" / PI / "config.toml").read_text())
    passwords = json.loads((lab.home / "secrets/passwords.json").read_text())
    lab.run("plkeygen", user=OPERATOR, typed=f"{OPERATOR}\n{passwords[OPERATOR]}\n").must()
    lab.dslice("plc", "approve", OPERATOR).must()
    lab.run("plkeygen", "--refresh", user=OPERATOR, typed=f"{OPERATOR}\n").must()

    def as_admin(*words: str) -> Ran:
        return lab.run("dslice", *words, "--as-me", user=OPERATOR)

    first, _ = made(lab, "theirs")
    assert "4 of 4" in as_admin("nodes").must().err
    assert as_admin("evict", "theirs", first, "--reason", REASON).must().successes == [first]
    assert OPERATOR in lab.dslice("plc", "history", PI).must().out
    as_admin("slices").must()
    as_admin("orphans").must()
    as_admin("usage").must()
    for words in (
        ("nodes",),
        ("slices",),
        ("slice", "theirs"),
        ("usage",),
        ("orphans",),
        ("node", "drain", "s1", "--reason", REASON),
        ("node", "retire", "s1", "--reason", REASON),
        ("evict", "theirs", first, "--reason", REASON),
        ("slice", "delete", "theirs", "--reason", REASON),
    ):
        refused = lab.run("dslice", *words, "--as-me", user=PI).must(NOT_ALLOWED)
        assert "admin" in refused.err, words
    lab.svm("deleteslice", "theirs").must()


def test_retire_and_evict(lab: Lab) -> None:
    first, second = made(lab, "last")
    refused = lab.dslice("node", "retire", first, "--reason", "broken").must(FAILED)
    assert "still has 1 slivers (last)" in refused.err
    lab.dslice("node", "retire", first, "--evict", "--reason", "broken").must()
    assert first not in {row["node"] for row in rows(lab.dslice("nodes", "--json"))}
    assert "broken" in lab.dslice("slice", "last").must().out
    assert names_of(lab, "last") == [first, second]
    lab.svm("deleteslice", "last").must()


def test_up_says_which_nodes_it_does_not_have(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that has been retired, here."""
    until(lambda: len(lab.svm("getads").lines) == 3)
    _started(Home(lab.home), 0)
    said = capsys.readouterr().err
    assert "BAD  3 of 4 nodes are advertised: missing: s" in said
    assert "Now type:" in said
