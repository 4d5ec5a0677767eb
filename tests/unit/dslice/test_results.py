"""Commands on many nodes: real processes here, of which ssh is only one kind."""

import sys
import threading
import time
from pathlib import Path

import pytest

from dslice import Error, Result, Results
from svm.everywhere import TIMED_OUT, Everywhere
from svm.openssh import SSH_FAILED

NODES = [f"10.0.0.{number}" for number in range(1, 9)]


def everywhere(code: str, nodes: list[str] = NODES, *, at_once: int = 8, timeout: float | None = None) -> Everywhere:
    return Everywhere(lambda node: [sys.executable, "-c", code, node], nodes, at_once, timeout=timeout)


def results(code: str, **more: float) -> Results:
    return Results(everywhere(code, timeout=more.get("timeout")), len(NODES))


def test_each_node_once_with_its_own_words() -> None:
    found = results("import sys; print('I am', sys.argv[1]); print('hm', file=sys.stderr)")
    assert {(each.node, each.status, each.stdout, each.stderr) for each in found} == {
        (node, 0, f"I am {node}\n", "hm\n") for node in NODES
    }
    assert len(found) == len(found.wait()) == len(found.check()) == len(NODES)
    assert found.wait() == list(found)  # what has come is kept


def test_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
mine = Path({str(tmp_path)!r}, sys.argv[1])
mine.touch()
time.sleep(0.05)
print(len(os.listdir(mine.parent)))
mine.unlink()
"""
    assert {int(ran.stdout) for ran in everywhere(code, at_once=2)} <= {1, 2}


def test_merged_output_keeps_its_order() -> None:
    code = "import os; [os.write(1 + number % 2, b'%d' % number) for number in range(8)]"
    (ran,) = Everywhere(lambda _: [sys.executable, "-c", code], ["n"], 1, merged=True)
    assert (ran.stdout, ran.stderr) == (b"01234567", b"")


def test_a_command_that_takes_too_long_is_ended() -> None:
    (ran,) = everywhere("import time; print('begun', flush=True); time.sleep(600)", ["n"], timeout=1)
    assert (ran.status, ran.stdout) == (TIMED_OUT, b"begun\n")


@pytest.mark.parametrize("merged", [True, False])
def test_a_program_that_is_not_there(merged: bool) -> None:
    (ran,) = Everywhere(lambda _: ["/no/such/program"], ["n"], 1, merged=merged)
    assert ran.status == SSH_FAILED
    assert (ran.stdout if merged else ran.stderr) == b"No such file or directory\n"


def test_closing_ends_what_runs_and_begins_no_more() -> None:
    running = everywhere("import time; time.sleep(600)", at_once=2)
    threading.Timer(0.3, running.close).start()
    began = time.monotonic()
    assert list(running) == []
    assert time.monotonic() - began < 300  # it would be 2,400


def test_a_with_block_ends_what_runs() -> None:
    with results("import sys, time; time.sleep(600 * (sys.argv[1] != '10.0.0.3'))") as found:
        assert next(iter(found)).node == "10.0.0.3"


def test_what_a_result_says() -> None:
    result = Result("10.0.0.1", 0, "6.1\n", "", 0.1)
    assert (str(result), result.ok, result.check()) == ("10.0.0.1: 6.1", True, result)
    for status, said in ((3, "exit 3: no"), (SSH_FAILED, "ssh failed: no"), (TIMED_OUT, "took too long: no")):
        assert str(Result("10.0.0.1", status, "", "yes\nno\n", 0.1)) == f"10.0.0.1: {said}"
    assert str(Result("10.0.0.1", 3, "", "", 0.1)) == "10.0.0.1: exit 3"
    with pytest.raises(Error, match=r"10.0.0.1: exit 3: no") as caught:
        Result("10.0.0.1", 3, "no\n", "", 0.1).check()
    assert caught.value.code == "command-failed"


def test_a_failure_among_them() -> None:
    with pytest.raises(Error, match=r"1 of 8 nodes failed, the first: 10.0.0.2: exit 1$"):
        results("import sys; sys.exit(sys.argv[1] == '10.0.0.2')").check()


def test_bytes_that_are_no_text() -> None:
    (first, *_) = results("import os; os.write(1, b'\\xff!')")
    assert first.stdout == "\ufffd!"
