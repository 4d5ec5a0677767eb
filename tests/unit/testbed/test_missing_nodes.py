"""`dslice doctor` names the nodes that are missing."""

from testbed.daemons import simulated_nodes
from testbed.doctor import NAMED, _missing
from testbed.home import Plan

PLAN = Plan(nodes=2, simulated=40, network=3)


def test_all_are_there() -> None:
    every = {"127.0.3.1", "127.0.3.2", *(node.address for node in simulated_nodes(PLAN))}
    found = _missing(PLAN, every, "")
    assert (found.ok, found.what) == (True, "42 of 42 nodes are advertised")


def test_those_that_are_not_are_named() -> None:
    there = {node.address for node in simulated_nodes(PLAN)[1:]}
    found = _missing(PLAN, there, "")
    assert not found.ok
    assert found.what == "39 of 42 nodes are advertised"
    assert found.advice.startswith("missing: n1 (127.0.3.1), n2 (127.0.3.2), s1 (")
    assert "dslice nodes --silent says since when" in found.advice
    assert f"and {42 - NAMED} more" in _missing(PLAN, set(), "").advice
