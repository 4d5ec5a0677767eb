"""The one table of verbs: who may, what each takes, its chain of steps. Pure: svmd, planning, `svm` and tests read it.

The words themselves are in `models/states.py`, with those of which a slice has one at a time (`LIFECYCLE`): constraints
of tables are made of them. From a row follow also: a verb with a chain changes nodes, so svmd needs the owner's working
delegation for it; what the user may type again after a failure is what the verb takes (`svm/retry.py`).
"""

from dataclasses import dataclass
from enum import Enum, auto

from models.states import LIFECYCLE, Kind, Verb
from trust.actions import Action


class Takes(Enum):
    """What a verb is given; each is a body in `svm/service/bodies.py`."""

    NOTHING = auto()
    SLICE = auto()
    FILE = auto()
    FILE_AND_OPTIONS = auto()  # how it goes on: --autorenew, --until, --replace
    NODES = auto()  # some, or none for all that it can be about
    THESE_NODES = auto()  # one at least
    KEYS = auto()
    STANDING = auto()  # a standing delegation
    AUTORENEW = auto()  # on, with a standing delegation and perhaps a last day; or off
    HEAL = auto()  # on, with a standing delegation; or off


@dataclass(frozen=True, slots=True)
class VerbSpec:
    """One verb.

    Args:
        chain: its steps at a node; each begins in the slot that the one before it leaves.
        action: what a user who asks for it does to a slice, hence how fresh the revocation list must be.
        takes: what a user gives with it.
        command: the file in `svm/commands` that has it; none = beat asks for it, no user can.
        after_deletions: the step that waits for the last of the operation's deletions.
    """

    chain: tuple[Kind, ...] = ()
    action: Action = Action.CREATE
    takes: Takes = Takes.SLICE
    command: str = ""
    after_deletions: Kind | None = None


_MAKE = (Kind.NEWTICKETS, Kind.NEWLEASES, Kind.NEWVMS)

# In the order of `svm --help`. A slice is created where an earlier one of that name has ended; after a deletion the
# name goes back.
VERBS: dict[Verb, VerbSpec] = {
    Verb.CREATESLICE: VerbSpec(_MAKE, Action.CREATE, Takes.FILE_AND_OPTIONS, "create", Kind.NEWTICKETS),
    Verb.DELETESLICE: VerbSpec((Kind.DELETE,), Action.DELETE, Takes.SLICE, "slices", Kind.RELEASE),
    Verb.ADDKEY: VerbSpec((Kind.ADDKEY,), Action.ACCESS, Takes.KEYS, "keys"),
    Verb.DELKEY: VerbSpec((Kind.DELKEY,), Action.REMOVE_KEYS, Takes.KEYS, "keys"),
    Verb.NUKEKEYS: VerbSpec((Kind.NUKEKEYS,), Action.REMOVE_KEYS, Takes.SLICE, "keys"),
    Verb.REKEY: VerbSpec((Kind.REKEY,), Action.CREATE, Takes.SLICE, "keys"),
    Verb.RENEWSLICE: VerbSpec((Kind.RENEW,), Action.RENEW, Takes.SLICE, "leases"),
    Verb.CLEAN: VerbSpec((), Action.DELETE, Takes.NOTHING, "slices"),
    Verb.NEWTICKETS: VerbSpec((Kind.NEWTICKETS,), Action.CREATE, Takes.FILE, "create", Kind.NEWTICKETS),
    Verb.NEWLEASES: VerbSpec((Kind.NEWLEASES,), Action.CREATE, Takes.NODES, "steps"),
    Verb.NEWVMS: VerbSpec((Kind.NEWVMS,), Action.CREATE, Takes.NODES, "steps"),
    Verb.START: VerbSpec((Kind.START,), Action.CREATE, Takes.NODES, "power"),
    Verb.STOP: VerbSpec((Kind.STOP,), Action.DELETE, Takes.NODES, "power"),
    Verb.RESTART: VerbSpec((Kind.RESTART,), Action.CREATE, Takes.NODES, "power"),
    Verb.RESET: VerbSpec((Kind.RESET,), Action.CREATE, Takes.NODES, "power"),
    Verb.SHRINK: VerbSpec((Kind.DELETE,), Action.DELETE, Takes.THESE_NODES, "slices"),
    Verb.AUTORENEW: VerbSpec((), Action.RENEW, Takes.AUTORENEW, "renewal"),
    Verb.DELEGATE: VerbSpec((), Action.RENEW, Takes.STANDING, "renewal"),
    Verb.UNDELEGATE: VerbSpec((), Action.DELETE, Takes.SLICE, "renewal"),
    Verb.HEAL: VerbSpec((), Action.CREATE, Takes.HEAL, "renewal"),
    Verb.REPLACE: VerbSpec((Kind.REPLACE, Kind.NEWLEASES, Kind.NEWVMS)),
    Verb.RECONCILE: VerbSpec((Kind.RECONCILE,)),
    Verb.RELEASE: VerbSpec((Kind.RELEASE,)),
    Verb.CANARY: VerbSpec((Kind.CANARY,)),
}

USER_VERBS: dict[Verb, VerbSpec] = {verb: row for verb, row in VERBS.items() if row.command}
"""What a user may ask for."""


def is_exclusive(verb: Verb) -> bool:
    """Whether a slice has one open operation of such verbs at a time; the others may run beside it."""
    return verb in LIFECYCLE


def next_kind(verb: Verb, kind: Kind) -> Kind | None:
    """The step that follows `kind` at its node; None when it is the last."""
    chain = VERBS[verb].chain
    # A replacement inside createslice joins the chain where tickets stand.
    at = 0 if kind in (Kind.NEWTICKETS, Kind.REPLACE) else chain.index(kind) if kind in chain else len(chain)
    return chain[at + 1] if at + 1 < len(chain) else None
