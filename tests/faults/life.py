"""What is under way while things break: slices on all nodes, created, given a key, renewed and deleted, as users do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from lifecycle.verbs import USER_VERBS, Takes
from models.states import Verb
from svm.client import Svmd
from svm.flags import Flags
from svm.home import Home as UserHome
from svm.request import Request
from svm.slicefile import SliceFile
from testbed.daemons import url
from testbed.home import PI
from tests.faults.stack import Stack
from trust.errors import Code, Refusal
from trust.sshkeys import new_ssh_key_pair

REPEATABLE = ("addkey", "renewslice", "nukekeys")
"""Verbs that may be asked for as often as one likes, so that there is work for as long as the fault lasts."""
VERBS = ("createslice", "addkey", "renewslice", "deleteslice")
ALL_VERBS = (
    *("createslice", "addkey", "renewslice", "delkey", "nukekeys", "rekey"),
    *("stop", "start", "restart", "deleteslice"),
)
ACCEPTED_WITHIN = 90
PASSING = (Code.UNREACHABLE, Code.TIMEOUT, Code.INTERNAL, Code.CRL_STALE, Code.WRONG_CERTIFICATE)
LEASELEN = 3_600

# Not yet as the verb wants it: the slices for which a user would type the command again.
_WITH_KEYS = """SELECT DISTINCT x.name FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE x.name = ANY(%s) AND x.state = 'open' AND ((v.state = 'running' AND v.key_generation < x.key_generation)
        OR (SELECT count(*) FROM svm.slice_key k WHERE k.slice = x.id) {than})"""
_NOT = """SELECT DISTINCT x.name FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE x.name = ANY(%s) AND v.state <> '{state}'"""
_UNDONE = {
    "delkey": _WITH_KEYS.format(than="> 1"),
    "nukekeys": _WITH_KEYS.format(than="> 0"),
    "rekey": """SELECT DISTINCT x.name FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
        WHERE x.name = ANY(%s) AND (x.pair_wanted = 0 OR x.pair_generation < x.pair_wanted
            OR (v.state = 'running' AND v.pair_generation < x.pair_wanted))""",
    "stop": _NOT.format(state="stopped"),
    "start": _NOT.format(state="running"),
    "restart": """SELECT n FROM unnest(%s::text[]) AS w(n) WHERE NOT EXISTS (SELECT 1 FROM svm.operation o
        WHERE o.slice_name = n AND o.verb = 'restart' AND o.outcome = 'done')""",
    "heal": "SELECT name FROM svm.slice WHERE name = ANY(%s) AND NOT heal",
    "createslice": """SELECT n FROM unnest(%s::text[], %s::int[]) AS w(n, m) WHERE m > (SELECT count(*)
        FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id WHERE x.name = n AND v.state = 'running')""",
    "addkey": """SELECT DISTINCT x.name FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
        WHERE x.name = ANY(%s) AND (x.key_generation = 0
            OR (v.state IN ('leased', 'running') AND v.key_generation < x.key_generation))""",
    "renewslice": """SELECT DISTINCT x.name FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
        WHERE x.name = ANY(%s) AND v.generation < 2""",
    "deleteslice": """SELECT DISTINCT x.name FROM svm.slice x LEFT JOIN svm.sliver v ON v.slice = x.id
        WHERE x.name = ANY(%s) AND (x.state <> 'deleted' OR v.state <> 'deleted')""",
}


@dataclass
class Life:
    """Slices of one round: `names`, each on `nodes`.

    Args:
        numnodes: as many of `nodes`, which the agent chooses, and others in the place of those that fail; None = all.
        again: how often a verb was asked for again because it had ended with errors.
        refusals: what svmd said instead of taking a request.
    """

    stack: Stack
    names: Sequence[str]
    nodes: Sequence[str]
    numnodes: int | None = None
    parallelism: int = 16
    leaselen: int = LEASELEN
    owner: str = PI
    autorenew: bool | None = None
    again: int = 0
    refusals: list[str] = field(default_factory=list)
    keys: tuple[str, ...] = field(default_factory=lambda: tuple(new_ssh_key_pair("user")[1] for _ in range(2)))

    def ask(self, verb: str, names: Sequence[str]) -> None:
        """Ask for a verb on these slices, until svmd has written each down. Refusal when it does not in time."""
        for name in names:
            self.accepted(self._request(verb, name))

    def undone(self, verb: str) -> list[str]:
        """Slices on which the verb has not done all of its work."""
        with self.stack.connect() as database:
            sizes = [[self.numnodes or len(self.nodes)] * len(self.names)] if verb == "createslice" else []
            return [str(row[0]) for row in database.execute(_UNDONE[verb], [list(self.names), *sizes])]

    def open(self) -> int:
        """Operations of these slices that are under way."""
        with self.stack.connect() as database:
            query = "SELECT count(*) FROM svm.operation WHERE slice_name = ANY(%s) AND ended_at IS NULL"
            row = database.execute(query, [list(self.names)]).fetchone()
            return int(row[0]) if row else 0

    def steps(self) -> int:
        """Steps that have ended, of all operations on these slices."""
        with self.stack.connect() as database:
            query = """SELECT count(*) FROM svm.step s JOIN svm.operation o ON o.id = s.operation
                       WHERE o.slice_name = ANY(%s) AND s.ended_at IS NOT NULL"""
            row = database.execute(query, [list(self.names)]).fetchone()
            return int(row[0]) if row else 0

    def _request(self, verb: str, name: str) -> Request:
        if verb == "createslice":
            if self.numnodes:
                return Request(verb, name, file=SliceFile(name, self.numnodes, self.leaselen, ()), replace=True)
            file = SliceFile(name, len(self.nodes), self.leaselen, tuple(self.nodes))
            return Request(verb, name, file=file, autorenew=self.autorenew)
        if verb == "heal":
            return Request(verb, name, heal=True, standing_heal=True)
        keys = self.keys[:1] if verb == "delkey" else self.keys
        return Request(verb, name, keys=keys if USER_VERBS[Verb(verb)].takes is Takes.KEYS else ())

    def accepted(self, request: Request) -> None:
        """Ask until svmd has written it down. Refusal when it does not in time."""
        deadline = time.monotonic() + ACCEPTED_WITHIN
        while True:
            svmd = self._svmd()
            try:
                svmd.start(request)
            except Refusal as refusal:
                if refusal.code in (Code.BUSY, Code.NAME_TAKEN) or _was_heard(request, refusal):
                    return
                self.refusals.append(f"{request.verb} {request.slice}: {refusal.reason}")
                if refusal.code not in PASSING or time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
            else:
                return
            finally:
                svmd.close()

    def _svmd(self) -> Svmd:
        home, plan = self.stack.home, self.stack.home.plan()
        user = UserHome(home.user(self.owner), url(plan, "plc"), url(plan, "svmd"), ca_file=home.ca_file)
        return Svmd(user, Flags(parallelism=self.parallelism, connect_timeout=2))


def _was_heard(request: Request, refusal: Refusal) -> bool:
    """Whether an earlier try has taken the key, or the whole slice, away already."""
    return request.verb in ("delkey", "deleteslice") and refusal.code is Code.NOT_FOUND


def settled(condition: Callable[[], bool], longest: float, pause: float = 0.25) -> bool:
    """Whether it comes to pass in time; a database that is down just now says no."""
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except psycopg.OperationalError:
            pass
        time.sleep(pause)
    return False
