"""What `svm doctor` makes of what it sees: pure, one line for each thing that it looked at, as in `dslice doctor`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from svm.columns import stamp
from svm.health import Around, advice, running, worries
from svm.output import MAX_LINE
from trust.errors import printable

CERTIFICATE_LEFT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` says what to do where it is not well."""

    ok: bool
    what: str
    advice: str = ""

    def line(self, most: int = MAX_LINE) -> str:
        """For people; so many characters."""
        said = f"{self.what}: {self.advice}" if self.advice else self.what
        return f"{'ok ' if self.ok else 'BAD'}  {printable(said, most)}"


def certificate(who: str, end: datetime, now: datetime) -> Check:
    """Days left of the user's own."""
    left = end - now
    if left <= timedelta(0):
        return Check(False, f"certificate of {who}", f"it ended at {stamp(end)}: run plkeygen to ask for a new one")
    what = f"certificate of {who}, {left.days} days left"
    return Check(True, what) if left > CERTIFICATE_LEFT else Check(False, what, "plkeygen --renew asks for the next")


def clock(theirs: datetime, before: datetime, after: datetime) -> Check:
    """This machine's clock against svmd's, which was read between `before` and `after`."""
    from trust.documents import SKEW

    early, late = before - theirs, theirs - after
    off = max(early, late, timedelta(0))
    which = "ahead" if early > late else "behind"
    if off <= timedelta(seconds=SKEW):
        return Check(True, "clock agrees with svmd's")
    seconds = int(off.total_seconds())
    return Check(False, f"clock {which} of svmd's by {seconds} s", "set it (NTP): what it signs is refused otherwise")


def agents(found: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Each agent, as svmd reaches it."""
    if not found:
        yield Check(False, "agents", "plc knows none yet: tell its operator")
    for each in found:
        what = f"agent {each['name']}" if each["name"] else "agents"
        if each["ok"]:
            yield Check(True, f"{what}, {each['nodes']} nodes{_quotas(each.get('quotas') or {})}")
        else:
            yield Check(False, what, str(each["reason"]))


def _quotas(found: Mapping[str, int]) -> str:
    """Of how many nodes the disk's quota is what; an older svmd does not say it."""
    kinds = [f"{printable(kind, 16)} on {found[kind]}" for kind in sorted(found)]
    return f", disk quota {', '.join(kinds)}" if kinds else ""


def roles(found: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Beat and workers, as svmd sees them; an older svmd says nothing of them."""
    for each in found:
        advice = "" if each["ok"] else f"{each['reason']}; {each['advice']}"
        yield Check(bool(each["ok"]), f"{each['name']} at work", advice)


def slices(
    found: Sequence[Mapping[str, Any]], troubles: Sequence[Mapping[str, Any]], around: Around
) -> Iterator[Check]:
    """Each slice: what is not well with it, by the rule of `svm.health`."""
    for each in found:
        mine = [trouble for trouble in troubles if trouble["slice"] == each["name"]]
        what = f"slice {each['name']}, {running(each)}"
        bad = [Check(False, f"{what}, {worry.where}", worry.cure) for worry in worries(each, mine, around)]
        first = each["first_end"]
        end = f", first lease ends {stamp(datetime.fromisoformat(first))}" if first else ""
        yield from bad or [Check(True, f"{what}{end}")]
    known = {each["name"] for each in found}
    for trouble in troubles:
        if trouble["slice"] not in known:
            yield Check(False, f"slice {trouble['slice']}, {trouble['node']}", advice(trouble, None))
