"""A shell with a terminal, as a person has it: through a pseudo-terminal of this test's own."""

from __future__ import annotations

import termios
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.frontdoor.conftest import SLICE, Node
from tests.integration.frontdoor.screen import Screen
from tests.integration.frontdoor.test_streams import eventually


def opened(node: Node, *words: str, quiet: bool = True) -> Screen:
    """OpenSSH's client in a terminal."""
    level = [] if quiet else ["-oLogLevel=INFO"]
    return Screen(["ssh", "-tt", *level, *node.options(), f"{node.login}@{node.address}", *words])


@pytest.fixture
def screen(node: Node) -> Iterator[Screen]:
    made = opened(node)
    try:
        made.until(rf"{SLICE}@{SLICE}-n1:~[{'$' if node.uid else '#'}] ")
        yield made
    finally:
        made.close()


def test_a_shell_knows_its_terminal(screen: Screen) -> None:
    screen.type("tty; stty size; echo $TERM:$HOME:$((6*7)); ps -o tty= -p $$\n")
    screen.until(r"/dev/pts/\d+\r\n31 97\r\nvt220:/home/oceanstore:42\r\npts/\d+")
    screen.type("echo again-$((1+1)) >$(tty)\n")
    screen.until("again-2")
    screen.type("exit 7\n")
    assert screen.client.wait(30) == 7


def test_a_resized_window_is_known_inside(screen: Screen) -> None:
    screen.type("trap 'stty size' WINCH; echo trap-$((1+1))\n")
    screen.until("trap-2")
    screen.size(50, 120)
    screen.until("50 120")


def test_control_c_ends_the_command_and_not_the_session(screen: Screen) -> None:
    screen.type("sh -c 'echo start-$((1+1)); exec sleep 600'\n")
    screen.until("start-2")
    screen.type("\x03")
    screen.type("echo status-$?\n")
    screen.until(r"status-130\r\n")


def test_control_z_and_fg(screen: Screen) -> None:
    screen.type("sh -c 'echo start-$((1+1)); exec sleep 600'\n")
    screen.until("start-2")
    screen.type("\x1a")
    screen.until("Stopped")
    screen.type("kill %1; fg\necho on-$((1+1))\n")
    screen.until("on-2")


def test_control_d_ends_the_shell(screen: Screen) -> None:
    screen.type("\x04")
    assert screen.client.wait(30) == 0


def test_the_clients_erase_key_is_the_terminals(node: Node) -> None:
    """The modes that ssh sends with pty-req are set on the sliver's terminal."""
    screen = opened(node, "stty -a")
    attributes = termios.tcgetattr(screen.terminal)
    assert attributes[6][termios.VERASE] == b"\x7f"
    assert "erase = ^?" in screen.until(r"erase = \S\S")
    screen.close()


def test_a_background_process_does_not_hold_up_the_end(node: Node) -> None:
    screen = opened(node, "nohup sleep 600 >/dev/null 2>&1 & echo left-$((1+1)); sleep 0.2")
    screen.until("left-2")
    assert screen.client.wait(30) == 0
    assert node.ssh("pkill -x sleep").returncode == 0
    screen.close()


# A job that says on the terminal which process it is: one of sshd's is a process of this machine's.
JOB = "sh -c 'echo job-$$- >/dev/tty; exec sleep 600'"


@pytest.mark.parametrize("line", [f"{JOB} >/dev/null 2>&1 &", f"{JOB} & disown", f"({JOB} &)"])
def test_logging_out_leaves_the_background_job_and_waits_for_nothing(door: Node, line: str) -> None:
    screen = opened(door, "exec /bin/bash --norc -i")
    screen.type(f"PS1=ready-$((1+1))'>'; {line}\n")
    job = screen.until(r"job-\d+-").split("-")[1]
    screen.type("echo up-$((1+1))\n")
    screen.until("up-2")
    screen.type("exit 3\n")
    assert screen.client.wait(60) == 3
    assert door.ssh(f"kill {job}").returncode == 0
    screen.close()


def test_without_a_terminal_the_pipes_are_waited_for_as_sshd_does(door: Node) -> None:
    done = door.ssh("{ sleep 1; echo late; } & echo early; exit 4")
    assert (done.stdout, done.returncode) == (b"early\nlate\n", 4)


def test_a_terminal_hears_that_its_lease_ends_and_why_it_is_closed(node: Node) -> None:
    screen = opened(node, "cat", quiet=False)
    before = node.table.entries[SLICE]
    try:
        screen.until("$")
        eventually(lambda: "oceanstore" in [c.granted.slice for c in node.server._all() if c.granted and c.logged_in])
        node.table.change(SLICE, expires_at=datetime.now(UTC) + timedelta(seconds=62))
        screen.until(
            r"The lease of oceanstore on this node ends in a minute, at \d\d:\d\d UTC: svm renewslice oceanstore"
        )
        node.table.change(SLICE, expires_at=datetime.now(UTC))
        screen.until("the lease of oceanstore on this node has ended")
        assert screen.client.wait(30) == 255
    finally:
        node.table.entries[SLICE] = before
        screen.close()


def test_all_output_before_the_end_arrives(node: Node) -> None:
    screen = opened(node, "seq 1 20000; echo the-$((1+1))-end")
    screen.until("\r\n19999\r\n20000\r\nthe-2-end")
    screen.close()


def test_no_terminal_unless_asked(node: Node) -> None:
    assert node.ssh("tty").stdout == b"not a tty\n"
