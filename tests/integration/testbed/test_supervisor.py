"""The supervisor with real servers and small daemons: what dies comes back, what is stopped stays."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import control
from testbed.home import Home, HomeError, Lock, Plan
from tests.networks import network

# The real supervisor over a layout whose plc and agent are mailboxes: nothing else starts as fast.
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from testbed import starting, bootstrap
from testbed import forking
from testbed.daemons import Layout, Spec
from testbed.home import Home, Plan

forking.import_shared = lambda: None
bootstrap.prepare = lambda layout: None


def stand_in(layout, name):
    mail, place = layout.mail(), layout.home.socket(f"{name}.sock")
    return replace(mail, name=name, role=name, address=place, env={**mail.env, "DSLICE_LISTEN": place})


Layout.plc = lambda self: stand_in(self, "plc")
Layout.others = lambda self: iter([stand_in(self, "agent")])
home = Home(Path(sys.argv[1]))
home.make()
starting.detach(home, home.plan())
"""


@pytest.fixture(scope="module")
def network_number() -> Iterator[int]:
    with network() as number:
        yield number


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, network_number: int) -> Iterator[Home]:
    """One testbed for all tests here; one that ends it starts it again."""
    home = Home(tmp_path_factory.mktemp("supervisor") / "home")
    home.make()
    home.keep_plan(Plan(network=network_number))
    started = start(home)
    assert started.returncode == 0, started.stderr
    yield home
    end(home)


def start(home: Home) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", PROGRAM, str(home.directory)], capture_output=True, text=True)


def end(home: Home) -> None:
    if Lock(home).holder() is not None:
        control.ask(home, "down")
        until(lambda: Lock(home).holder() is None)


def rows(home: Home) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in control.ask(home, "ps")["processes"]}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_all_are_ready_and_gone_after_down(home: Home) -> None:
    found = rows(home)
    assert set(found) == {"database", "broker", "mail", "plc", "agent"}
    assert {row["state"] for row in found.values()} == {"ready"}
    end(home)
    assert not [row for row in found.values() if is_running(row["pid"])]
    with pytest.raises(HomeError, match="no testbed runs in"):
        control.ask(home, "ps")
    assert start(home).returncode == 0


@pytest.mark.parametrize("name", ["database", "broker", "agent"])
def test_what_dies_is_started_again(home: Home, name: str) -> None:
    before = rows(home)[name]["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: rows(home)[name]["state"] == "ready" and rows(home)[name]["pid"] != before)


def test_what_is_stopped_stays_down_until_it_is_started(home: Home) -> None:
    control.ask(home, "stop", "agent")
    until(lambda: rows(home)["agent"]["pid"] is None)
    time.sleep(0.5)  # longer than the first restart would wait
    assert rows(home)["agent"]["state"] == "stopped"
    control.ask(home, "start", "agent")
    until(lambda: rows(home)["agent"]["state"] == "ready")


def test_an_unknown_name_or_verb_is_refused(home: Home) -> None:
    with pytest.raises(HomeError, match="no process called nobody; there are database, broker"):
        control.ask(home, "stop", "nobody")
    with pytest.raises(HomeError, match="no verb dance"):
        control.ask(home, "dance", "agent")


def test_a_second_start_in_the_same_home_is_refused_in_one_line(home: Home) -> None:
    second = start(home)
    assert second.returncode != 0
    assert f"this testbed is up already (process {Lock(home).holder()})" in second.stderr


def test_no_daemon_outlives_a_killed_supervisor_and_the_next_start_works(home: Home) -> None:
    found = rows(home)
    supervisor = Lock(home).holder()
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not [row for row in found.values() if is_running(row["pid"])])
    again = start(home)
    assert again.returncode == 0, again.stderr
    assert {row["address"] for row in rows(home).values()} == {row["address"] for row in found.values()}


def test_nonsense_on_the_control_socket_does_no_harm(home: Home) -> None:
    import socket

    for nonsense in (b"\n", b"{}\n", b"[1]\n", b"not json\n", b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(home.socket(control.SOCKET))
            peer.sendall(nonsense)
    assert rows(home)["agent"]["state"] == "ready"


def test_letters_are_kept_as_files(home: Home) -> None:
    import stat
    from email.message import EmailMessage

    from rpc.smtp import relay
    from testbed.mailbox import letters

    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "a@testbed.example", "b@testbed.example", "Grüße"
    letter.set_content("two\nlines")
    place = rows(home)["mail"]["address"]
    with relay(f"lmtp://{place}") as session:
        session.send_message(letter)
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(place).parent.stat().st_mode) == 0o700
    (found,) = letters(home.mail)
    assert found.as_json() | {"date": ""} == {
        "from": "a@testbed.example",
        "to": "b@testbed.example",
        "date": "",
        "subject": "Grüße",
        "text": "two\nlines",
    }
    assert json.loads(json.dumps(found.as_json()))
