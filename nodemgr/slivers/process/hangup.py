"""The end of a session whose client is gone: SIGHUP to its process group, and SIGKILL a moment later to what stays."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodemgr.slivers.process.processes import children, ignores_hangup, members, namespace

HANGUP_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Group:
    """The process group of one session, in the host's numbers, and the pid namespace that its members are in."""

    number: int
    inside: str


def hang_up(entrant: int) -> list[Group]:
    """SIGHUP to the session that the nsenter process `entrant` waits for; its group, for `finish` later.

    SIGCONT too: what is stopped would not notice, and nsenter stops itself when its child stops.
    """
    found = []
    for leader in children(entrant):
        inside = namespace(leader, "pid")
        with contextlib.suppress(ProcessLookupError):
            group = os.getpgid(leader)
            if inside is not None:
                found.append(Group(group, inside))
            if group == leader:
                os.killpg(group, signal.SIGHUP)
                os.killpg(group, signal.SIGCONT)
            else:  # so early that it leads no group yet
                os.kill(leader, signal.SIGHUP)
    _signal(entrant, signal.SIGCONT)
    return found


def signal_groups(entrant: int, number: int) -> None:
    """A signal to the process group of each process that the nsenter process `entrant` waits for."""
    for leader in children(entrant):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(leader) == leader:
                os.killpg(leader, number)
            else:  # so early that it leads no group yet
                os.kill(leader, number)


def finish(entrants: Iterable[int], groups: Sequence[Group]) -> None:
    """SIGKILL to what is left of the groups. What was started with nohup lives on, as its user wished."""
    for group in groups:
        for pid in members(group.inside):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) == group.number and not ignores_hangup(pid):
                    _signal(pid, signal.SIGKILL)
    for entrant in entrants:
        _signal(entrant, signal.SIGCONT)


def cut_off(entrants: Iterable[int]) -> None:
    """SIGKILL to the first process of each session, and have its nsenter reap it.

    PID 1 of a sliver does not end before all else there is reaped, and a stopped nsenter reaps nobody.
    """
    for entrant in entrants:
        for leader in children(entrant):
            _signal(leader, signal.SIGKILL)
        _signal(entrant, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
