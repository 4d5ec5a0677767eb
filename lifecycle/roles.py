"""Whether beat and workers show life, as operations tell it: beat asks for canaries, and a worker begins and ends them.

A worker that hears nothing begins a canary itself (`workers/watchdog.py`), under another actor than beat's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lifecycle.operations import BEAT

_SIGNS = text("""
    SELECT extract(epoch FROM now() - max(started_at) FILTER (WHERE actor = :beat)) AS begun,
        extract(epoch FROM now() - max(ended_at) FILTER (WHERE outcome = 'done')) AS done
    FROM svm.operation WHERE slice IS NULL AND verb = 'canary'
""")
_CURE = "tell svmd's operator to start one: 'dslice start {process}' on a testbed, 'dslice run {role}' elsewhere"
ON_A_TESTBED = {"worker": "worker1"}  # role to process, where they are not called the same


@dataclass(frozen=True, slots=True)
class Role:
    """What svmd cannot do without; ``reason`` and ``advice`` are empty when it is well."""

    name: str
    ok: bool
    reason: str = ""
    advice: str = ""


def roles(connection: Connection, *, silence: float, watched: float) -> Iterator[Role]:
    """The roles that can be judged now: without a worker nobody hears whether beat asks.

    Args:
        silence: seconds without a sign of life from which a role counts as dead.
        watched: seconds since somebody could have seen one.
    """
    row = connection.execute(_SIGNS, {"beat": BEAT}).one()
    done, begun = (min(watched, float("inf") if age is None else float(age)) for age in (row.done, row.begun))
    yield _judged("worker", done, silence, "what is asked for waits")
    if done <= silence:
        yield _judged("beat", begun, silence, "nothing is renewed, repeated or cleaned up automatically")


def _judged(name: str, age: float, silence: float, consequence: str) -> Role:
    if age <= silence:
        return Role(name, ok=True)
    advice = _CURE.format(role=name, process=ON_A_TESTBED.get(name, name))
    return Role(name, ok=False, reason=f"no sign of life for {age:.0f} s, so {consequence}", advice=advice)
