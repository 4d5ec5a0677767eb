"""Operations: a verb that a user or beat asked for, written down with its first steps in one transaction.

`start` is called inside the caller's transaction; after its commit the caller publishes what it returned. Losing
that call loses nothing: the sweep publishes what is due and unheld.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from models.states import Kind, Outcome, Queue, Verb
from trust.identity import Identity

__all__ = ["Given", "Operation", "SliceSpec", "Started", "StepRef", "Verb", "Wanted", "cancel", "read", "start"]


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """The slice file: what createslice and newtickets ask for. `ips` are preferred addresses, in order."""

    numnodes: int
    leaselen: int  # seconds
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """A delegation that came with the request, already verified by svmd."""

    token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    heal: bool = False  # standing only: it covers create as well


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. svmd has parsed and checked everything in it; `start` checks it against the rows.

    Args:
        slice: its name; "" for clean (all slices of the owner).
        owner: who asks; for beat's own operations the slice's owner.
        spec: for createslice and newtickets.
        nodes: addresses, for newleases and newvms; empty = every node that waits for that step.
        keys: SSH public keys, one re-serialised line each, for addkey and delkey.
        parallelism: the user's -p, steps in flight at once.
        connect_timeout: the user's -t, seconds.
        agents: names of agents to take tickets from, in order; empty = the default one.
        working, standing: delegations to keep; None leaves what is stored. Changing verbs need a working one.
        autorenew, until: createslice --autorenew and autorenew on|off [--until]; None = as it was.
        heal: heal on|off.
        replace: createslice --replace.
        idempotency_key: the same key from the same owner for the same verb returns the same operation.
        actor: who caused it, for the history ("beat" for periodic work).
    """

    verb: Verb
    slice: str
    owner: Identity
    spec: SliceSpec | None = None
    nodes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    parallelism: int = 16
    connect_timeout: int = 10
    agents: tuple[str, ...] = ()
    working: Given | None = None
    standing: Given | None = None
    autorenew: bool | None = None
    until: datetime | None = None
    heal: bool | None = None
    replace: bool = False
    idempotency_key: str | None = None
    actor: str = "user"


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step to publish. `batch` = how many ids of this operation may share one message."""

    kind: Kind
    id: int
    queue: Queue
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Started:
    """An operation that is written down.

    Args:
        publish: for `tasks.publish.publish` after the commit.
        existing: an earlier request with the same idempotency key made it.
    """

    operation: UUID
    slice: str
    publish: list[StepRef]
    existing: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as its owner sees it. `ok` and `failed` count nodes; `outcome` is None while it is open."""

    id: UUID
    verb: Verb
    slice: str
    owner: Identity
    actor: str
    parallelism: int
    connect_timeout: int
    open_steps: int
    in_flight: int
    seq: int
    ok: int
    failed: int
    outcome: Outcome | None
    code: str | None
    reason: str | None
    started_at: datetime
    ended_at: datetime | None


def start(connection: Connection, wanted: Wanted) -> Started:
    """Write the operation, its steps and what it changes at once (keys, state deleting), in the caller's transaction.

    Raises Refusal: BUSY (detail `operation`: the open one), NOT_FOUND, NOT_OWNER, NAME_TAKEN (a complete slice that
    lives, or somebody else's name), BAD_INPUT.
    """
    raise NotImplementedError


def cancel(connection: Connection, operation: UUID) -> None:
    """End what has not begun; steps at work finish and are recorded, nothing follows them. Idempotent.

    The caller has checked that the operation is the user's own (`read`).
    """
    raise NotImplementedError


def read(connection: Connection, operation: UUID) -> Operation:
    """One operation. Raises Refusal(NOT_FOUND)."""
    raise NotImplementedError


def open_of(connection: Connection, slice_row: UUID) -> list[Operation]:
    """Open operations of a slice, oldest first (`svm watch SLICE` follows the newest)."""
    raise NotImplementedError
