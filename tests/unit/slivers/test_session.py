"""The command line of a session, and the limits in it."""

from __future__ import annotations

import os
import signal

import pytest

from nodemgr.slivers.drivers.container import ContainerDoor
from nodemgr.slivers.inside.etc import environment
from nodemgr.slivers.limits.cgroups import Ceilings
from nodemgr.slivers.limits.rlimits import nice, rlimits
from nodemgr.slivers.process import launch, session
from nodemgr.slivers.process.session import NamespaceDoor, Terminal
from nodemgr.slivers.process.spawn import exit_status

CEILINGS = Ceilings(64, 10)
RIGHTS = ["/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (launch, session):
        monkeypatch.setattr(module, "program", lambda name: f"/usr/bin/{name}")


def words_of(door: NamespaceDoor, terminal: Terminal | None = None) -> list[str]:
    return door.command(["ls", "-l"], terminal, {}, 0)


def test_namespaces_are_joined_before_rights_are_given_up_and_limits_come_last() -> None:
    words = words_of(NamespaceDoor("ocean", 77, 5000, ("/bin/join",), rlimits(CEILINGS, grouped=True)))
    order = [
        "/bin/join",
        "--reuid=5000",
        "/usr/bin/nsenter",
        "/usr/bin/setsid",
        "--no-new-privs",
        "/usr/bin/prlimit",
        "ls",
    ]
    places = [words.index(word) for word in order]
    assert places == sorted(places)
    assert words[-2:] == ["ls", "-l"]


def test_every_namespace_of_the_keeper_but_the_networks() -> None:
    words = words_of(NamespaceDoor("ocean", 77, None))
    assert words[:2] == ["/usr/bin/nsenter", "--preserve-credentials"]
    assert words[2:10] == ["-U", "-m", "-p", "-i", "-u", "-C", "-t", "77"]


def test_no_right_is_left() -> None:
    words = words_of(NamespaceDoor("ocean", 77, None))
    at = words.index("/usr/bin/setpriv")
    assert words[at : at + len(RIGHTS)] == RIGHTS


def test_a_plain_user_changes_no_uid() -> None:
    assert not any("reuid" in word for word in words_of(NamespaceDoor("ocean", 77, None)))


def test_a_terminal_becomes_the_controlling_one() -> None:
    assert "--ctty" in words_of(NamespaceDoor("ocean", 77, None), Terminal(3))
    assert "--ctty" not in words_of(NamespaceDoor("ocean", 77, None))


def test_podman_opens_the_terminal_by_name() -> None:
    door = ContainerDoor("ocean", 77, 5000, "/usr/bin/runc", "c0ffee", rlimits(CEILINGS, grouped=True))
    words = door.command(["ls"], Terminal(3), {"TERM": "xterm"}, 0)
    at = words.index("c0ffee")
    whole = environment("ocean", {"TERM": "xterm"})
    assert words[:2] == ["/usr/bin/runc", "exec"]
    assert set(words[2:at]) == {"--env", *(f"{name}={value}" for name, value in whole.items())}
    assert any("/dev/pts/3" in word for word in words)
    assert not any("/dev/pts" in word for word in door.command(["ls"], None, {}, 0))
    assert "--preserve-fds" in door.command(["ls"], None, {}, 1)
    assert not door.hands_over
    assert NamespaceDoor("ocean", 77, None).hands_over


def test_limits() -> None:
    words = rlimits(CEILINGS, grouped=True)
    assert {"--core=0:0", "--nproc=10:10", "--nofile=1024:1024"} <= set(words)
    assert not any(word.startswith(("--data", "--as")) for word in words)
    assert words[-1] == "--"


def test_limits_without_control_groups() -> None:
    words = rlimits(CEILINGS, grouped=False)
    assert words[:3] == ("/usr/bin/nice", "-n", "10")
    assert words[3] == "/usr/bin/choom"
    assert words[-6:] == rlimits(CEILINGS, grouped=True)


@pytest.mark.parametrize(
    ("weight", "expected"), [(1, 19), (10, 19), (50, 13), (100, 10), (200, 7), (800, 1), (10_000, 1)]
)
def test_weights_as_nice_values(weight: int, expected: int) -> None:
    assert nice(weight) == expected


def test_a_sessions_variables_change_its_language_and_nothing_fixed() -> None:
    assert environment("ocean")["LANG"] == "C.UTF-8"
    given = environment("ocean", {"TERM": "vt100", "LANG": "de_DE.UTF-8", "HOME": "/", "PATH": "/x"})
    assert (given["TERM"], given["LANG"], given["HOME"]) == ("vt100", "de_DE.UTF-8", "/home/ocean")
    assert given["PATH"] == environment("ocean")["PATH"]


@pytest.mark.parametrize("status", [0, 1, 255])
def test_exit_status_of_an_exit(status: int) -> None:
    assert exit_status(status << 8) == status


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM])
def test_exit_status_of_a_signal(number: signal.Signals) -> None:
    assert exit_status(int(number)) == 128 + number


def test_a_terminal_is_nowhere_but_in_a_multiplexer(tmp_path: object) -> None:
    with pytest.raises(OSError, match=r".*"):
        session.open_terminal(2**22 + 1, None)
    master, slave = os.openpty()
    session.set_size(master, 100_000, -0 + 50)
    assert os.get_terminal_size(slave) == (65535, 50)
    os.close(master)
    os.close(slave)
