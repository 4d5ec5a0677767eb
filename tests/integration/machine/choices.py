"""What the state machine chooses from."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from lifecycle.operations import SliceSpec, Verb
from tasks.autorenew import autorenew
from tasks.canary import canary_all
from tasks.clean import clean
from tasks.notify import notify
from tasks.reconcile import reconcile_all
from tasks.sweep import sweep
from tests.integration.machine.whole import NODES
from tests.integration.machine.wire import Fate
from tests.unit.nodemgr.world import USER_KEYS
from tests.unit.trust.factories import NOW

SPECS = {"aa": SliceSpec(2, 3600), "bb": SliceSpec(3, 900), "cc": SliceSpec(1, 40_000)}
NAME = st.sampled_from(sorted(SPECS))
NUMBER = st.integers(0, 40)
NODE = st.integers(1, NODES)
# Before and after each commit of a step, all of them: claim, reads, record.
CRASH = st.sampled_from([*[None] * 12, 0, 1, 2, 3, 4, 5, 6, 7])
FATE = st.sampled_from([Fate.ARRIVES, Fate.ARRIVES, *Fate])
# What becomes of messages, one after another: which, a crash, a fate of which call, and whether it is delivered again.
ENDS = st.lists(st.tuples(NUMBER, CRASH, FATE, st.sampled_from([0, 0, 0, 1]), st.booleans()), min_size=2, max_size=10)
End = tuple[int, int | None, Fate, int, bool]
KEY_VERBS = (Verb.ADDKEY, Verb.DELKEY, Verb.NUKEKEYS)
ASKED = (
    *(Verb.CREATESLICE, Verb.CREATESLICE, Verb.NEWTICKETS, Verb.NEWLEASES, Verb.NEWVMS),
    *(Verb.RENEWSLICE, Verb.RENEWSLICE, Verb.DELETESLICE, Verb.REPLACE),
    *KEY_VERBS,
    *(Verb.AUTORENEW, Verb.HEAL, Verb.UNDELEGATE, Verb.REKEY),
    *(Verb.STOP, Verb.START, Verb.RESTART, Verb.RESET, Verb.SHRINK),
)
BESIDE = (*KEY_VERBS, Verb.RENEWSLICE)
BEAT: dict[str, Any] = {
    "sweep": sweep,
    "autorenew": autorenew,
    "clean": clean,
    "reconcile": reconcile_all,
    "notify": notify,
    "canary": canary_all,
}
LATEST = NOW + timedelta(days=25)  # certificates last for 30
QUIET = 90  # seconds; claims lapse within


def resized(name: str, number: int) -> SliceSpec:
    """As its file says, most of the time; else of another size or with leases of another length."""
    spec = SPECS[name]
    numnodes = max(1, spec.numnodes + {0: 1, 1: -1}.get(number % 7, 0))
    return replace(spec, numnodes=numnodes, leaselen=spec.leaselen * (2 if number % 9 == 0 else 1))


def needs(verb: Verb, name: str) -> dict[str, Any]:
    if verb is Verb.CREATESLICE:
        return {"spec": SPECS[name]}
    if verb is Verb.SHRINK:
        return {"nodes": ("127.0.1.1",)}
    return {"keys": (USER_KEYS[0],)} if verb is Verb.ADDKEY else {}
