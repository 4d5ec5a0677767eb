"""What `svm doctor` makes of what it sees: pure, one line for each thing that it looked at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from svm.columns import stamp
from svm.output import printable

CERTIFICATE_LEFT = timedelta(days=7)
DELEGATION_LEFT = timedelta(days=3)
MAX_LINE = 400  # our words and at most 200 characters of a node's
MOST_SKEW = timedelta(seconds=30)  # PROTOCOL.md: what verifying a signed document allows

_TROUBLES = {
    "orphan": "a VM that svmd did not make or has forgotten; it ends with its lease",
    "missing": "its node has no VM of it any more; svm deleteslice {slice} and svm createslice make it anew",
    "stopped": "its VM does not run: svm newvms {slice} starts it again, with its files and keys",
    "keys": "it has not got the newest keys yet: svm addkey with any of them pushes them now",
    "pair": "its VM has an older key pair than the others: svm rekey {slice} gives all of them a new one",
    "disk": "the disk of this node is full: svm ssh {slice} to it and delete what you can do without",
    "silent": "it has not answered since {since}: svm heal {slice} on replaces silent nodes",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` says what to do where it is not well."""

    ok: bool
    what: str
    advice: str = ""

    def line(self) -> str:
        """For people."""
        said = f"{self.what}: {self.advice}" if self.advice else self.what
        return f"{'ok ' if self.ok else 'BAD'}  {printable(said, MAX_LINE)}"


def certificate(who: str, end: datetime, now: datetime) -> Check:
    """Days left of the user's own."""
    left = end - now
    if left <= timedelta(0):
        return Check(False, f"certificate of {who}", f"it ended at {stamp(end)}: run plkeygen to ask for a new one")
    what = f"certificate of {who}, {left.days} days left"
    return Check(True, what) if left > CERTIFICATE_LEFT else Check(False, what, "plkeygen --renew asks for the next")


def clock(theirs: datetime, before: datetime, after: datetime) -> Check:
    """This machine's clock against svmd's, which was read between `before` and `after`."""
    early, late = before - theirs, theirs - after
    off = max(early, late, timedelta(0))
    which = "ahead" if early > late else "behind"
    if off <= MOST_SKEW:
        return Check(True, "clock as svmd's")
    seconds = int(off.total_seconds())
    return Check(False, f"clock {which} of svmd's by {seconds} s", "set it (NTP): what it signs is refused otherwise")


def agents(found: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Each agent, as svmd reaches it."""
    if not found:
        yield Check(False, "agents", "plc knows none yet: tell its operator")
    for each in found:
        what = f"agent {each['name']}" if each["name"] else "agents"
        if each["ok"]:
            yield Check(True, f"{what}, {each['nodes']} nodes")
        else:
            yield Check(False, what, str(each["reason"]))


def roles(found: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Beat and workers, as svmd sees them; an older svmd says nothing of them."""
    for each in found:
        advice = "" if each["ok"] else f"{each['reason']}; {each['advice']}"
        yield Check(bool(each["ok"]), f"{each['name']} at work", advice)


def slices(found: Sequence[Mapping[str, Any]], troubles: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Check]:
    """Each open slice: what ails it, and whether svmd may go on renewing it."""
    for each in found:
        name = each["name"]
        mine = [trouble for trouble in troubles if trouble["slice"] == name]
        worries = [Check(False, f"slice {name}, {trouble['node']}", _advice(trouble)) for trouble in mine]
        worries += _delegation(each, now)
        yield from worries or [Check(True, f"slice {name}, {each['nodes'].get('running', 0)} running")]
    known = {each["name"] for each in found}
    for trouble in troubles:
        if trouble["slice"] not in known:
            yield Check(False, f"slice {trouble['slice']}, {trouble['node']}", _advice(trouble))


def _advice(trouble: Mapping[str, Any]) -> str:
    since = stamp(datetime.fromisoformat(trouble["since"])) if trouble["since"] else "it was asked first"
    text = _TROUBLES.get(trouble["what"], str(trouble["what"])).format(since=since, slice=trouble["slice"])
    return f"{text} ({trouble['reason']})" if trouble["reason"] else text


def _delegation(found: Mapping[str, Any], now: datetime) -> Iterator[Check]:
    """autorenew and heal need a standing delegation."""
    if not found["autorenew"] and not found["heal"]:
        return
    name, end = found["name"], found["standing_until"]
    wanted = datetime.fromisoformat(found["autorenew_until"]) if found["autorenew_until"] else None
    until = datetime.fromisoformat(end) if end else now
    if until <= now:
        yield Check(False, f"slice {name}, delegation over", f"svm delegate {name} lets svmd act again")
    elif until - now < DELEGATION_LEFT and (wanted is None or wanted > until):
        yield Check(False, f"slice {name}, delegation until {stamp(until)}", f"svm delegate {name} extends it")
