"""The words of the lifecycle, as tables store them. What may follow what: `lifecycle/moves.py`; what a verb is:
`lifecycle/verbs.py`."""

from enum import StrEnum


class SliceState(StrEnum):
    """`open` until deleteslice or clean; `deleting` while a node may still hold a sliver."""

    OPEN = "open"
    DELETING = "deleting"
    DELETED = "deleted"


class SliverState(StrEnum):
    """In which 2003 directory the sliver's file would lie; `stopped`: in vms/, but it does not run."""

    TICKETED = "ticketed"
    LEASED = "leased"
    RUNNING = "running"
    STOPPED = "stopped"
    EXPIRED = "expired"
    DELETING = "deleting"
    DELETED = "deleted"


# What still holds something at an agent or a node.
LIVE = (SliverState.TICKETED, SliverState.LEASED, SliverState.RUNNING, SliverState.STOPPED)

# What has a lease; and what has a VM that may be told to run.
LEASED = (SliverState.LEASED, SliverState.RUNNING, SliverState.STOPPED)
WITH_VM = (SliverState.RUNNING, SliverState.STOPPED)


class StepState(StrEnum):
    """`held → released → running → done | failed`; a step that backs off returns to held."""

    HELD = "held"
    RELEASED = "released"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Outcome(StrEnum):
    """How an operation ended: all nodes done, some failed, all failed or refused, cancelled."""

    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Verb(StrEnum):
    """What a user or beat asks for. The first block is the 2003 howto's."""

    CREATESLICE = "createslice"
    NEWTICKETS = "newtickets"
    NEWLEASES = "newleases"
    NEWVMS = "newvms"
    ADDKEY = "addkey"
    DELKEY = "delkey"
    NUKEKEYS = "nukekeys"
    REKEY = "rekey"
    RENEWSLICE = "renewslice"
    DELETESLICE = "deleteslice"
    CLEAN = "clean"

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RESET = "reset"
    SHRINK = "shrink"

    AUTORENEW = "autorenew"
    HEAL = "heal"
    DELEGATE = "delegate"
    UNDELEGATE = "undelegate"

    REPLACE = "replace"
    RECONCILE = "reconcile"
    RELEASE = "release"
    CANARY = "canary"


# One open operation of these per slice; the others may run beside it.
LIFECYCLE = (
    Verb.CREATESLICE,
    Verb.NEWTICKETS,
    Verb.NEWLEASES,
    Verb.NEWVMS,
    Verb.RENEWSLICE,
    Verb.DELETESLICE,
    Verb.REPLACE,
    Verb.REKEY,
    Verb.START,
    Verb.STOP,
    Verb.RESTART,
    Verb.RESET,
    Verb.SHRINK,
)


class Kind(StrEnum):
    """Kinds of steps: one file each in `tasks/`."""

    NEWTICKETS = "newtickets"
    NEWLEASES = "newleases"
    NEWVMS = "newvms"
    ADDKEY = "addkey"
    DELKEY = "delkey"
    NUKEKEYS = "nukekeys"
    REKEY = "rekey"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RESET = "reset"
    RENEW = "renew"
    DELETE = "delete"
    RELEASE = "release"
    REPLACE = "replace"
    RECONCILE = "reconcile"
    CANARY = "canary"


class Queue(StrEnum):
    """Celery's queues, most urgent first."""

    INTERACTIVE = "interactive"
    RENEWALS = "renewals"
    HOUSEKEEPING = "housekeeping"


class HookState(StrEnum):
    """What a hook may be told of (docs/letters.md, "Hooks")."""

    ENDING = "ending"
    ENDED = "ended"
    FAILED = "failed"
    HEALED = "healed"
