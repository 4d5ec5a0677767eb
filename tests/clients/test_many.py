"""Programs that run a command on many nodes at once."""

from __future__ import annotations

from typing import Any

from tests.clients.client import Door
from tests.clients.doing import done, tried
from tests.clients.table import who


@who("many")
def test_on_two_at_once(client: Any, door: Door) -> None:
    said = done(client.many(door, "echo tide-$((1+1))")).decode()
    assert said.count("tide-2") == 2, said


@who("many")
def test_a_failure_is_heard_of(client: Any, door: Door) -> None:
    assert tried(client.many(door, "exit 3")).returncode != 0
