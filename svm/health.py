"""Whether a slice is well, by one rule for `svm doctor`, `svm status` and `svm slices`. Pure.

It is when all the nodes that it asked for run, nothing ails any of them, no role of svmd that it needs is dead, and no
end is near that nobody has asked for. Else each thing that is not well has one cure, which tests/integration/svm tries.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from svm.columns import stamp

WARNED = timedelta(days=3)
_MAKING = ("createslice", "newtickets", "newleases", "newvms", "start", "replace", "deleteslice")
_SAME_END = timedelta(seconds=1)  # a delegation's end has whole seconds

# By lifecycle.diagnosis.Trouble; of one that this svm does not know, its name and reason are shown.
_TROUBLES = {
    "orphan": "a VM that svmd did not make or has forgotten; it ends with its lease",
    "missing": "its node no longer has its VM; svm deleteslice {slice}, then svm createslice FILE, make it anew",
    "keys": "it lacks the newest keys: the addkey, delkey or nukekeys that changed them sends them when repeated",
    "pair": "its VM has an older key pair than the others: svm rekey {slice} gives all of them a new one",
    "disk": "the disk of its node is full: svm ssh {slice} {node} lets you delete files",
    "stopped": "its VM does not run since {since}: svm start {slice} {node} starts it, with its files and keys",
}


@dataclass(frozen=True, slots=True)
class Worry:
    """One thing that is not well. `where`: the node, or what it is about; `cure`: what to do."""

    where: str
    cure: str


@dataclass(frozen=True, slots=True)
class Around:
    """What a slice's health depends on beside itself: svmd's time and dead roles, the user's certificate."""

    now: datetime
    certificate_end: datetime
    roles: Sequence[Mapping[str, Any]] = ()


def running(found: Mapping[str, Any]) -> str:
    """`2 of 3 running, 1 stopped`, of a slice as svmd tells it."""
    stopped = found["nodes"].get("stopped", 0)
    more = f", {stopped} stopped" if stopped else ""
    return f"{found['nodes'].get('running', 0)} of {found['numnodes']} running{more}"


def worries(found: Mapping[str, Any], troubles: Sequence[Mapping[str, Any]], around: Around) -> list[Worry]:
    """All that is not well with a slice; empty: it is well. `troubles`: those of this slice."""
    return [
        *_lacking(found, sum(each["what"] == "stopped" for each in troubles)),
        *(Worry(each["node"], advice(each, found)) for each in troubles),
        *(Worry(each["name"], f"{each['reason']}; {each['advice']}") for each in around.roles if not each["ok"]),
        *_ending(found, around),
    ]


def advice(trouble: Mapping[str, Any], found: Mapping[str, Any] | None) -> str:
    """What a trouble is and what to do about it; `found` None: of a slice that is gone."""
    what, name = str(trouble["what"]), trouble["slice"]
    since = stamp(datetime.fromisoformat(trouble["since"])) if trouble["since"] else "it was asked first"
    if what == "silent":
        text = f"it has not answered since {since}: {_of_silence(found)}"
    elif what in _TROUBLES:
        text = _TROUBLES[what].format(slice=name, node=trouble["node"], since=since)
    else:
        text = f"{what}; svm history {name} may say more"
    return f"{text} ({trouble['reason']})" if trouble["reason"] else text


def renewal_end(found: Mapping[str, Any]) -> datetime | None:
    """Until when autorenew really goes on: its date, or the delegation's end where that comes first."""
    ends = [datetime.fromisoformat(found[key]) for key in ("autorenew_until", "standing_until") if found[key]]
    return min(ends, default=None)


def _of_silence(found: Mapping[str, Any] | None) -> str:
    if found is None or found["state"] != "open":
        return "what is left of the slice there ends with its lease"
    if found["heal"]:
        return "another node takes its place if this lasts"
    return f"svm heal {found['name']} on has another node take its place"


def _lacking(found: Mapping[str, Any], stopped: int) -> Iterator[Worry]:
    """Fewer nodes than were asked for, beside those whose VM has `stopped`."""
    name = found["name"]
    going_on = [each["verb"] for each in found["operations"] if each["verb"] in _MAKING]
    if found["state"] != "open":
        if going_on:
            yield Worry("being deleted", f"svm watch {name} follows it")
        else:
            yield Worry("being deleted", f"svm deleteslice {name} asks again, and what is left ends with its lease")
    elif found["nodes"].get("running", 0) + stopped < found["numnodes"]:
        if going_on:
            yield Worry(f"{going_on[0]} goes on", f"svm watch {name} follows it")
        else:
            yield Worry("nodes are lacking", "svm createslice FILE, with the same file, makes what is lacking")


def _ending(found: Mapping[str, Any], around: Around) -> Iterator[Worry]:
    """What ends soon unless somebody does something; the owner gets the same by e-mail."""
    if found["state"] != "open":
        return
    name, now = found["name"], around.now
    standing = datetime.fromisoformat(found["standing_until"]) if found["standing_until"] else None
    if found["autorenew"] or found["heal"]:
        wanted = renewal_end(found)
        if standing is None:
            yield Worry("no standing delegation", f"svm delegate {name} gives one, for svmd to act by itself")
        elif standing - now < WARNED and wanted == standing:
            yield Worry(f"the delegation ends {stamp(standing)}", _longer(name, standing, around))
        elif found["autorenew"] and wanted is not None and wanted - now < WARNED:
            yield Worry(f"autorenew ends {stamp(wanted)}", f"svm autorenew {name} on goes on")
    if not found["autorenew"] and found["first_end"] is not None:
        first = datetime.fromisoformat(found["first_end"])
        # Who asked for short leases knows that they end: half of one is warning enough.
        if first - now < min(WARNED, timedelta(seconds=found["leaselen"] / 2)):
            yield Worry(f"the first lease ends {stamp(first)}", f"svm renewslice {name} keeps it")


def _longer(name: str, standing: datetime, around: Around) -> str:
    """A delegation ends with the certificate that signed it, so that one may have to be renewed first."""
    if around.certificate_end - standing < _SAME_END:
        return f"plkeygen --renew and then svm delegate {name} extend it"
    return f"svm delegate {name} extends it"
