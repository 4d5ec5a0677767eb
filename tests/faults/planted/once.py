"""Faults found from outside, as they were: each takes its mend away again."""

from tests.faults.planted.bug import Bug

ONCE: tuple[Bug, ...] = ()
