"""What can be asked for: the values of `lifecycle.operations.start`."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from lifecycle.steps import StepRef
from models.states import Kind, Outcome, Verb
from trust.identity import Identity
from trust.needs import NOTHING, Needs

BEAT = "beat"  # the actor of what nobody waits for
LETTER = "letter"  # the actor of what a link in a letter began


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """The slice file: what createslice and newtickets ask for. `ips` are preferred addresses, in order.

    `needs`: what each sliver is to have; never with an image's digest, which is the agent's to choose.
    """

    numnodes: int
    leaselen: int  # seconds
    ips: tuple[str, ...] = ()
    needs: Needs = NOTHING


@dataclass(frozen=True, slots=True)
class Given:
    """A delegation that came with the request, already verified by svmd."""

    token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    heal: bool = False  # standing only: it covers create as well


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """What is asked for. svmd has parsed and checked everything in it; `start` checks it against the rows.

    Args:
        slice: its name; "" for clean (all slices of the owner).
        owner: who asks; for beat's own operations the slice's owner.
        spec: for createslice and newtickets.
        nodes: addresses, for newleases and newvms; empty = every node that waits for that step. For start, stop,
            restart and reset; empty = every VM. For shrink.
        keys: SSH public keys, one re-serialised line each, for addkey and delkey.
        parallelism: the user's -p, steps in flight at once.
        connect_timeout: the user's -t, seconds.
        agents: names of agents to take tickets from, in order; empty = the default one.
        working, standing: delegations to keep; None leaves what is stored. Changing verbs need a working one.
        by_link: a standing delegation to keep for links in letters alone.
        autorenew, until: createslice --autorenew and autorenew on|off [--until]; None = as it was.
        heal: heal on|off.
        replace: createslice --replace.
        stays: of replace: the nodes keep their slivers until their successors run.
        idempotency_key: the same key from the same owner for the same verb returns the same operation.
        actor: who caused it, for the history: "beat" for periodic work, "letter" for a link. `note`: why, when that is
            not plain.
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
    by_link: Given | None = None
    autorenew: bool | None = None
    until: datetime | None = None
    heal: bool | None = None
    replace: bool = False
    stays: bool = False
    idempotency_key: str | None = None
    actor: str = "user"
    note: str = ""


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What a verb comes to, decided under the slice's lock.

    Args:
        slice: its row; None when the verb is about no single slice.
        steps: (kind, node), in the order in which they are released.
        notes: for the history, when there is something to tell at once.
        earlier: (slice's row, node) of slivers of that name's earlier slices, which are deleted before all else.
    """

    slice: UUID | None
    name: str
    steps: tuple[tuple[Kind, str | None], ...] = ()
    notes: tuple[str, ...] = ()
    nodes: int = 0
    earlier: tuple[tuple[UUID, str], ...] = ()
