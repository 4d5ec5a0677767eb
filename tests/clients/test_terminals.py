"""Terminals: their size and its change, Ctrl-C, and logging out beside a job that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.clients.client import Door
from tests.clients.table import who
from tests.integration.frontdoor.screen import Screen

SCRIPT = (
    "trap 'echo size-$(stty size)-' WINCH; trap 'echo caught; exit 9' INT;"
    " echo first-$(stty size)-; while :; do sleep 0.1; done"
)
JOB = "sh -c 'echo job-$$- >/dev/tty; exec sleep 600' >/dev/null 2>/dev/null &"


@contextmanager
def opened(argv: list[str]) -> Iterator[Screen]:
    screen = Screen(argv)
    try:
        yield screen
    finally:
        screen.close()


@who("shell")
def test_size_and_control_c(client: Any, door: Door) -> None:
    with opened(client.shell(door, SCRIPT)) as screen:
        screen.until("first-31 97-")
        screen.size(50, 120)
        screen.until("size-50 120-")
        screen.type("\x03")
        screen.until("caught")
        status = screen.client.wait(60)
        assert status == (0 if client.name == "mosh" else 9)


@who("shell")
def test_logging_out_leaves_the_background_job_and_waits_for_nothing(client: Any, door: Door) -> None:
    with opened(client.shell(door, "exec bash --norc -i")) as screen:
        screen.until(r"[$#]")
        # mosh-server waits for whoever has its terminal open, at sshd too.
        screen.type(f"{JOB if client.name != 'mosh' else JOB.replace('&', '</dev/null &')}\n")
        job = screen.until(r"job-\d+-").split("-")[1]
        screen.type("exit 3\n")
        status = screen.client.wait(60)
        assert status == (0 if client.name == "mosh" else 3)
        door.says(f"kill {job}")
