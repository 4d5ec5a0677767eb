"""dslice.toml, read strictly; and what is to be done until slices are as it says."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from svm.declared import Change, changes, parse, read
from tests.unit.svm.answering import KEY
from trust.errors import Code, Refusal
from trust.sshkeys import new_ssh_key_pair

OTHER = new_ssh_key_pair("bob")[1]
SITES = {"10.0.0.1": "Berkeley", "10.0.0.2": "Princeton", "10.0.0.3": "Berkeley", "10.0.0.4": "Berkeley"}
THERE: dict[str, Any] = {
    "name": "demo",
    "numnodes": 2,
    "leaselen": 86_400,
    "nodes": {"running": 2},
    "slivers": [{"node": "10.0.0.2"}, {"node": "10.0.0.3"}],
    "keys": [KEY],
    "autorenew": False,
    "autorenew_until": None,
    "heal": False,
}


def planned(table: str, found: dict[str, Any] | None = THERE) -> list[Change]:
    (declared,) = parse(f"[slices.demo]\n{table}\n".encode())
    return changes(declared, found, lambda: SITES)


def told(table: str, found: dict[str, Any] | None = THERE) -> list[str]:
    return [f"{change.sign} {change.request.verb}: {change.text}" for change in planned(table, found)]


@pytest.mark.parametrize(
    "table",
    [
        "nodes = 2",
        "nodes = 2\nhours = 24.0",
        'nodes = ["10.0.0.2", "10.0.0.3"]',
        f"nodes = 2\nkeys = ['{KEY}']",
        f"nodes = 2\nkeys = ['{KEY} another comment']",
        "nodes = 2\nautorenew = false\nheal = false",
        'nodes = 2\nsites = ["Nowhere"]',  # of nodes that are to be taken, and none is
    ],
)
def test_what_is_so_already(table: str) -> None:
    assert told(table) == []


def test_what_is_not_there() -> None:
    table = f"nodes = 3\nkeys = ['{KEY}']\nautorenew = true\nheal = true\nreplace = true\nagents = ['a']"
    assert told(table, None) == [
        "+ createslice: demo: create it: 3 nodes, leases of 24 h",
        "+ addkey: demo: let in ssh-ed25519 …7bYw2oP5 alice",
        "~ autorenew: demo: autorenew on",
        "~ heal: demo: heal on",
    ]
    made, _, renewed, healed = (change.request for change in planned(table, None))
    assert made.file is not None
    assert (made.file.numnodes, made.file.leaselen, made.replace, made.agents) == (3, 86_400, True, ("a",))
    assert (renewed.autorenew, renewed.standing_heal, healed.heal, healed.standing_heal) == (True, True, True, True)
    assert told("absent = true", None) == []


def test_what_is_another() -> None:
    assert told("absent = true") == ["- deleteslice: demo: delete it"]
    assert told("nodes = 3\nhours = 1.5") == ["~ createslice: demo: make it 3 nodes, leases of 1.5 h (it is 2, 24 h)"]
    assert told("nodes = 1\nhours = 24") == ["~ createslice: demo: make it 1 node, leases of 24 h (it is 2, 24 h)"]
    assert told("nodes = 2", {**THERE, "nodes": {"running": 1, "ticketed": 1}}) == [
        "~ createslice: demo: make what is lacking: 1 of 2 run"
    ]
    assert told("nodes = 2", {**THERE, "nodes": {"running": 1, "stopped": 1}}) == []


def test_what_each_vm_is_to_have() -> None:
    table = "nodes = 2\nmemory = 512\nimage = 'bookworm'"
    made = planned(table, None)[0].request.file
    assert made is not None
    assert made.needs.to_json() == {"memory_mb": 512, "image": "bookworm"}
    assert told(table, {**THERE, "needs": {"memory_mb": 512, "image": "bookworm", "digest": "ab"}}) == []
    assert [line.partition(":")[0] for line in told(table)] == ["~ createslice"]
    assert told("nodes = 2", {**THERE, "needs": {"memory_mb": 512}}) == []


def test_keys_are_exactly_these() -> None:
    assert [change.request.keys for change in planned(f"nodes = 2\nkeys = ['{OTHER}']")] == [(OTHER,), (KEY,)]
    assert [line.partition(":")[0] for line in told(f"nodes = 2\nkeys = ['{OTHER}']")] == ["+ addkey", "- delkey"]
    assert [line.partition(":")[0] for line in told("nodes = 2\nkeys = []")] == ["- delkey"]


@pytest.mark.parametrize(
    ("given", "on", "until", "expected"),
    [
        ("true", True, None, []),
        ("true", True, "2030-12-24T23:59:59+00:00", ["autorenew on"]),
        ("true", False, None, ["autorenew on"]),
        ("false", True, None, ["autorenew off"]),
        ("2030-12-24", True, "2030-12-24T23:59:59+00:00", []),
        ("2030-12-24T18:00:00", True, "2030-12-24T18:00:00+00:00", []),
        ("2030-12-24T19:00:00+01:00", True, "2030-12-24T18:00:00+00:00", []),
        ("2030-12-24", True, None, ["autorenew on until 2030-12-24 23:59:59 UTC"]),
        ("2030-12-24", False, "2030-12-24T23:59:59+00:00", ["autorenew on until 2030-12-24 23:59:59 UTC"]),
    ],
)
def test_autorenew(given: str, on: bool, until: str | None, expected: list[str]) -> None:
    found = planned(f"nodes = 2\nautorenew = {given}", {**THERE, "autorenew": on, "autorenew_until": until})
    assert [change.text for change in found] == [f"demo: {text}" for text in expected]
    if "2030" in "".join(expected):
        assert found[0].request.until == datetime(2030, 12, 24, 23, 59, 59, tzinfo=UTC)


def test_sites() -> None:
    """What the slice has stays; what comes is of these sites."""
    grown = planned('nodes = 3\nsites = ["berkeley"]')
    assert grown[0].request.file is not None
    assert grown[0].request.file.ips == ("10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.4")
    new = planned('nodes = 1\nsites = ["Princeton"]', None)
    assert new[0].request.file is not None
    assert new[0].request.file.ips == ("10.0.0.2",)
    with pytest.raises(Refusal, match="2 nodes asked for, and these sites have 1; ask for fewer"):
        planned('nodes = 2\nsites = ["Princeton"]', None)
    with pytest.raises(Refusal, match="no node of the site Nowhere is advertised"):
        planned('nodes = 2\nsites = ["Nowhere"]', None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it holds tables [slices.NAME], and nothing else"),
        ("[slices]", "it holds tables [slices.NAME], and nothing else"),
        ("[slices.demo]\nnodes = 1\n[other]", "and nothing else"),
        ("slices = 3", "and nothing else"),
        ("[slices]\ndemo = 3", "slices.demo is no table; write [slices.demo]"),
        ("[slices.demo", "no TOML: "),
        ("[slices.Demo]\nnodes = 1", "Demo: 'Demo' is not a slice name"),
        ("[slices.demo]", "demo: nodes is missing"),
        ("[slices.demo]\nnodes = true", "demo: nodes is missing; give a number, or a list of addresses"),
        ("[slices.demo]\nnodes = 0", "demo: nodes must be a whole number above 0"),
        ("[slices.demo]\nnodes = ['n1']", "demo: 'n1' in ips is not an IP address"),
        ("[slices.demo]\nnodes = [1]", "demo: nodes must be a list of texts"),
        ("[slices.demo]\nnodes = 1\nhour = 3", "demo: 'hour' is not known; known are nodes, sites, hours"),
        ("[slices.demo]\nnodes = 1\nhours = true", "demo: hours must be a number above 0"),
        ("[slices.demo]\nnodes = 1\nhours = inf", "demo: hours must be a number above 0"),
        ("[slices.demo]\nnodes = 1\nhours = 337", "the most allowed is 1209600"),
        ("[slices.demo]\nnodes = 1\nautorenew = 'on'", "demo: autorenew must be true or false, or a date"),
        ("[slices.demo]\nnodes = 1\nmemory = 'much'", "demo: memory must be a whole number above 0"),
        ("[slices.demo]\nnodes = 1\nmemory = 1", "demo: memory is 1; the least allowed is 16"),
        ("[slices.demo]\nnodes = 1\nheal = 1", "demo: heal must be true or false"),
        ("[slices.demo]\nnodes = 1\nsites = 'here'", "demo: sites must be a list of texts"),
        ("[slices.demo]\nnodes = 1\nkeys = ['/no/such.pub']", "demo: /no/such.pub: cannot be read"),
        ("x" * 70_000, "larger than 64 KiB"),
    ],
)
def test_what_is_no_such_file(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "dslice.toml"
    path.write_text(text)
    with pytest.raises(Refusal) as caught:
        read(str(path))
    assert caught.value.code is Code.BAD_INPUT
    assert caught.value.reason.startswith(f"{path}: ")
    assert said in caught.value.reason


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(Refusal, match=r"cannot be read .*; give a dslice.toml"):
            read(str(path))
