"""Slice files that are wrong: one line, exit 2, and nothing is taken. The howto's ips, in order."""

import re

import pytest

from tests.acceptance.lab import FAILED, USAGE, Lab

DEEP = "<a>" * 100_000
HEAD = '<?xml version="1.0"?>'
BOMB = (
    HEAD
    + "<!DOCTYPE slice [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {x} '{f'&{y};' * 10}'>" for x, y in zip("bcdefghi", "abcdefgh", strict=True))
    + "]><slice><name>&i;</name></slice>"
)


def slice_xml(name: str = "wrong", numnodes: str = "1", leaselen: str = "3600", more: str = "") -> str:
    return (
        f"{HEAD}<slice><name>{name}</name><numnodes>{numnodes}</numnodes><leaselen>{leaselen}</leaselen>{more}</slice>"
    )


WRONG = {
    "empty": "",
    "not XML": "name = wrong",
    "half of it": slice_xml()[:40],
    "a DOCTYPE": slice_xml().replace(HEAD, f"{HEAD}<!DOCTYPE slice>"),
    "an entity bomb": BOMB,
    "100,000 levels": DEEP,
    "10 MB": slice_xml(more=f"<ips>{' ' * 10_000_000}</ips>"),
    "an unknown element": slice_xml(more="<colour>red</colour>"),
    "a doubled element": slice_xml(more="<name>other</name>"),
    "an attribute": slice_xml().replace("<slice>", '<slice x="1">'),
    "numnodes 0": slice_xml(numnodes="0"),
    "numnodes -1": slice_xml(numnodes="-1"),
    "numnodes 1e3": slice_xml(numnodes="1e3"),
    "numnodes 10^9": slice_xml(numnodes="1000000000"),
    "numnodes in other digits": slice_xml(numnodes="٣"),
    "leaselen over the maximum": slice_xml(leaselen="1209601"),
    "leaselen 0": slice_xml(leaselen="0"),
    "no name": slice_xml(name=""),
    "a reserved name": slice_xml(name="root"),
    "a path as name": slice_xml(name="../x"),
    "a name in capitals": slice_xml(name="Wrong"),
    "an IP that is none": slice_xml(more="<ips>127.0.0.999</ips>"),
    "fewer ips than nodes": slice_xml(numnodes="2", more="<ips>127.0.0.9</ips>"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_in_one_line(lab: Lab, what: str) -> None:
    (lab.folder / "wrong.xml").write_text(WRONG[what])
    refused = lab.svm("createslice", "wrong.xml").must(USAGE)
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1, refused.err


def test_a_file_that_is_not_there(lab: Lab) -> None:
    refused = lab.svm("createslice", "nowhere.xml").must(USAGE)
    assert len(refused.err.splitlines()) == 1
    assert "nowhere.xml" in refused.err


@pytest.mark.parametrize(("numnodes", "ips"), [(1, ["127.99.99.99"]), (2, ["127.99.99.99", "SIMULATED"]), (1000, [])])
def test_fewer_nodes_than_asked_for_take_nothing(lab: Lab, numnodes: int, ips: list[str]) -> None:
    named = [lab.simulated[0] if ip == "SIMULATED" else ip for ip in ips]
    refused = lab.svm("createslice", lab.slice_file("toomany", numnodes, named)).must(FAILED)
    assert refused.out == ""
    assert re.search(r"\d", refused.err)
    assert lab.svm("nodelist", "toomany").out == ""
    lab.svm("deleteslice", "toomany")


def test_ips_are_taken_in_order(lab: Lab) -> None:
    preferred = [lab.simulated[n] for n in (7, 2, 5)]
    made = lab.svm("createslice", lab.slice_file("inorder", 2, ["127.99.99.99", *preferred])).must()
    assert sorted(made.successes) == sorted(preferred[:2])
    lab.svm("deleteslice", "inorder").must()
