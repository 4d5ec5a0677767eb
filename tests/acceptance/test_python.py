"""What programs that import dslice meet besides the page's ten tasks: Ctrl-C, exceptions, time limits, one another."""

import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.lab import OTHER_PI, Lab, Ran, first_line, interrupt, until
from tests.acceptance.test_python_page import PAGE, blocks

SAID = (
    r"KeyboardInterrupt: createslice stopped: it continues; "
    r"follow it with: svm watch (\S+), or Slice\('stopped'\)\.wait\(\)"
)


def python(lab: Lab, program: str, *words: str, **more: str) -> Ran:
    return lab.run("python", "-W", "error", "-c", f"import dslice, sys\n{program}", *words, **more)


def nodes(lab: Lab, name: str) -> list[str]:
    return sorted(lab.svm("nodelist", name).lines)


def test_ctrl_c_ends_the_waiting_only(lab: Lab) -> None:
    slow = lab.simulated[:2]
    for node in slow:
        lab.fault(node, "slow=4")
    try:
        program = f"""
import dslice
print("begun", flush=True)
try:
    dslice.Slice("stopped", nodes={slow}, hours=1).create()
except dslice.Error:
    print("no")
"""
        process = lab.begin("python", "-c", program)
        assert first_line(process) == "begun\n"
        until(lambda: bool(lab.svm("slices").out.count("stopped")))
        ended = interrupt(process)
    finally:
        lab.fault("all", "ok")
    assert (ended.status, ended.out) == (-signal.SIGINT, "")
    said = re.fullmatch(SAID, ended.err.splitlines()[-1])
    assert said, ended.err
    operation = said[1]
    assert sorted(lab.svm("watch", operation).must().successes) == sorted(slow)
    again = python(lab, "print(*sorted(dslice.Slice('stopped').wait().nodes))").must()
    assert again.out.split() == sorted(slow)
    lab.svm("deleteslice", "stopped").must()


def test_a_time_limit_leaves_it_going(lab: Lab) -> None:
    slow = lab.simulated[0]
    lab.svm("createslice", lab.slice_file("patient", 1, [slow])).must()
    lab.fault(slow, "slow=4")
    try:
        said = python(
            lab,
            """
s = dslice.Slice("patient")
operation = s._begun(s._request("renewslice"))
try:
    s.wait(timeout=0.5)
except dslice.Error as error:
    print(error.code)
print(s.wait().outcome, *s.operation().nodes)
""",
        ).must()
    finally:
        lab.fault("all", "ok")
    assert said.lines == ["timeout", f"done {slow}"]
    lab.svm("deleteslice", "patient").must()


@pytest.mark.parametrize(("keep", "left"), [("False", 0), ("True", 1), ("'on-error'", 1)])
def test_an_exception_in_the_block(lab: Lab, keep: str, left: int) -> None:
    node = lab.simulated[3]
    program = f"with dslice.Slice('block', nodes=[{node!r}], keep={keep}): raise ValueError('mine')"
    ended = python(lab, program).must(1)
    assert ended.err.splitlines()[-1] == "ValueError: mine"
    assert len(nodes(lab, "block")) == left
    if left:
        assert python(lab, "with dslice.Slice('block', keep=False) as s: print(*s.nodes())").must().out.split() == [
            node
        ]
    assert nodes(lab, "block") == []


def test_two_programs_share_a_slice(lab: Lab) -> None:
    both = lab.simulated[4:6]
    program = f"import dslice; print(dslice.Slice('shared', nodes={both}, hours=1).create().status())"
    running = [lab.begin("python", "-c", program) for _ in range(3)]
    ended = [process.communicate(timeout=120) for process in running]
    assert [out for out, _ in ended] == ["shared: open, 2 of 2 running\n"] * 3, ended
    lab.svm("deleteslice", "shared").must()


def test_who_is_refused(lab: Lab) -> None:
    lab.svm("createslice", lab.slice_file("mine", 1, lab.simulated[6:7])).must()
    program = """
try:
    with dslice.Slice("mine", nodes=1) as s:
        s.renew()
except dslice.Error as error:
    print(error.code, "|", error.reason)
"""
    assert python(lab, program, user=OTHER_PI).must().out.startswith("not-owner | ")
    assert python(lab, program, user="nobody@testbed.example").must().out.startswith("not-authenticated | ")
    home = lab.home / "users" / OTHER_PI
    given = f"print([each.name for each in dslice.connect({str(home)!r}).slices()])"
    assert python(lab, f"with dslice.connect({str(home)!r}) as client: print(client.slices())").must().out == "[]\n", (
        given
    )
    lab.svm("deleteslice", "mine").must()


def test_a_vm_that_nobody_can_log_in_to(lab: Lab) -> None:
    """Simulated nodes let nobody in: results say so, and nothing hangs."""
    program = f"""
with dslice.Slice("doors", nodes={lab.simulated[7:9]}) as s:
    for result in s.run("true"):
        print(result.status, result.ok)
    try:
        s.nodes()[0].put("/etc/hostname")
    except dslice.Error as error:
        print(error.code)
    try:
        s.nodes()[0].open_tunnel(80)
    except dslice.Error as error:
        print(error.code)
"""
    assert python(lab, program).must().lines == ["255 False", "255 False", "copy-failed", "tunnel-failed"]


def test_programs_are_typed(tmp_path: Path) -> None:
    """Strictly, as somebody who has it from pip checks his own."""
    from mypy import api

    files = []
    for number, block in enumerate(block for block in blocks(PAGE.read_text()) if block.kind == "python"):
        files.append(tmp_path / f"task{number}.py")
        files[-1].write_text(block.text)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import dslice\ndslice.Slice('x', node=3)\nprint(dslice.aio.Slice('x').renew(hour=1))\n")
    out, _, _ = api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, files), str(wrong)])
    errors = re.findall(r"(\w+\.py):(\d+): error", out)
    assert errors == [("wrong.py", "2"), ("wrong.py", "3")], out


def test_stopped_started_and_made_smaller(lab: Lab) -> None:
    program = f"""
with dslice.Slice("power", nodes={lab.real[:2]}, hours=1, needs={{"memory": 128}}) as s:
    first, second = sorted(str(node) for node in s.nodes())
    s.stop([first])
    print(s[first].state, s[second].state, s.status().complete)
    s.create()
    print(s[first].state)
    s.start()
    s.restart([second])
    print(s.status(), s.status().facts["needs"])
    s.shrink([first])
    print(*s.nodes())
"""
    ran = python(lab, program).must()
    needs = "{'memory_mb': 128}"
    assert ran.lines == [
        "stopped running False",
        "stopped",
        f"power: open, 2 of 2 running {needs}",
        sorted(lab.real[:2])[1],
    ]


def test_a_retry_does_what_is_left(lab: Lab) -> None:
    good, bad = lab.simulated[9:11]
    lab.fault(bad, "over-capacity")
    program = f"""
import subprocess
s = dslice.Slice("again", nodes={[good, bad]}, hours=1)
try:
    s.create()
except dslice.PartialFailure as failure:
    print(*failure.nodes, "|", *(each.node for each in failure.failures))
    subprocess.run(["dslice", "fault", {bad!r}, "ok"], check=True, stdout=subprocess.DEVNULL)
    print(failure.retry().nodes)
print(s.status())
s.delete()
"""
    try:
        ran = python(lab, program).must()
    finally:
        lab.fault(bad, "ok")
    assert ran.lines == [f"{good} | {bad}", f"['{bad}']", "again: open, 2 of 2 running"]
