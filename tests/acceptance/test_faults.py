"""Nodes and servers that fail: only what failed is said to have failed, and what is printed then repairs it."""

import pytest

from tests.acceptance.lab import (
    DONE,
    FAILED,
    INTERRUPTED,
    SOME_FAILED,
    Lab,
    first_line,
    interrupt,
    until,
)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refuse", "refused"),
        ("blackhole", ""),
        ("reset", ""),
        ("wrong-cert", "certificate"),
        ("over-capacity", "take another node"),
    ],
)
def test_one_bad_node_is_named_and_the_printed_command_repairs_it(lab: Lab, fault: str, reason: str) -> None:
    name = f"bad_{fault.replace('-', '_')}"
    bad, *good = lab.simulated[:4]
    lab.fault(bad, fault)
    try:
        made = lab.svm("-t", "2", "createslice", lab.slice_file(name, 4, [bad, *good])).must(SOME_FAILED)
        assert sorted(made.successes) == sorted(good)
        assert list(made.errors) == [bad]
        assert reason in made.errors[bad].lower()
        assert sorted(lab.svm("nodelist", name).must().lines) == sorted(good)
    finally:
        lab.fault(bad, "ok")
    commands = lab.typed_again(made)
    assert commands, made.err
    for command in commands:
        lab.run(*command).must()
    assert sorted(lab.svm("nodelist", name).must().lines) == sorted([bad, *good])
    lab.svm("deleteslice", name).must()


def test_all_nodes_bad_is_failed(lab: Lab) -> None:
    nodes = lab.simulated[4:6]
    for node in nodes:
        lab.fault(node, "refuse")
    try:
        made = lab.create("allbad", nodes).must(FAILED)
        assert sorted(made.errors) == sorted(nodes)
    finally:
        for node in nodes:
            lab.fault(node, "ok")
    lab.svm("deleteslice", "allbad").must()


def test_a_lost_answer_strands_nothing(lab: Lab) -> None:
    node, *others = lab.simulated[6:9]
    lab.fault(node, "lose-answer")
    try:
        lab.svm("-t", "2", "createslice", lab.slice_file("lost", 3, [node, *others]))
    finally:
        lab.fault(node, "ok")
    lab.svm("newleases", "lost")
    lab.svm("newvms", "lost")
    assert sorted(lab.svm("nodelist", "lost").must().lines) == sorted([node, *others])
    lab.svm("deleteslice", "lost").must()


def test_deleteslice_says_which_node_it_could_not_reach_and_a_later_run_finishes(lab: Lab) -> None:
    gone, other = lab.simulated[9:11]
    lab.create("halfgone", [gone, other]).must()
    lab.fault(gone, "refuse")
    try:
        deleted = lab.svm("-t", "2", "deleteslice", "halfgone").must(SOME_FAILED)
        assert deleted.successes == [other]
        assert list(deleted.errors) == [gone]
    finally:
        lab.fault(gone, "ok")
    lab.svm("deleteslice", "halfgone")
    until(lambda: lab.svm("nodelist", "halfgone").status != DONE)


def test_the_broker_stopped_while_steps_wait(lab: Lab) -> None:
    lab.dslice("stop", "broker").must()
    try:
        creating = lab.begin("svm", "createslice", lab.slice_file("patient", 3, lab.simulated[:3]))
        until(lambda: "patient" in lab.svm("slices").out)
    finally:
        lab.dslice("start", "broker").must()
    out, err = creating.communicate(timeout=120)
    assert creating.returncode == DONE, err
    assert out.count("Success on ") == 3
    lab.svm("deleteslice", "patient").must()


def test_a_worker_killed_meanwhile(lab: Lab) -> None:
    nodes = lab.simulated[:6]
    for node in nodes:
        lab.fault(node, "slow=1")
    try:
        creating = lab.begin("svm", "-p", "2", "createslice", lab.slice_file("killed", 6, nodes))
        first_line(creating)
        before = next(row["pid"] for row in lab.ps() if row["role"] == "worker")
        lab.run("kill", "-9", str(before)).must()
        out, err = creating.communicate(timeout=160)
    finally:
        for node in nodes:
            lab.fault(node, "ok")
    assert creating.returncode == DONE, err
    assert out.count("Success on ") == 5  # and the first line, read before
    lab.svm("deleteslice", "killed").must()


def test_ctrl_c_leaves_the_operation_going_and_watch_finds_it(lab: Lab) -> None:
    nodes = lab.simulated[:4]
    for node in nodes:
        lab.fault(node, "slow=1")
    try:
        creating = lab.begin("svm", "-p", "1", "createslice", lab.slice_file("watched", 4, nodes))
        first_line(creating)  # one node has ended, three are to come
        stopped = interrupt(creating)
        assert stopped.status == INTERRUPTED
        assert "it continues" in stopped.err
        assert "svm watch" in stopped.err
        watched = lab.svm("watch", "watched").must()
        assert sorted(watched.successes) == sorted(nodes)
    finally:
        for node in nodes:
            lab.fault(node, "ok")
    lab.svm("deleteslice", "watched").must()
