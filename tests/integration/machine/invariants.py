"""What holds after every rule, and what must have come about once all is healed (docs/lifecycle.md, "Invariants")."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from lifecycle.outcome import Done
from nodemgr.storage.store import LeaseRow
from tests.integration.machine.places import GRACE, Site
from tests.integration.machine.whole import Whole

LIVE = ("ticketed", "leased", "running", "stopped")
LEASED = ("leased", "running", "stopped")

_SLIVERS = """
    SELECT v.*, x.slice_id, x.name, x.state AS slice_state, x.key_generation AS wanted_keys,
        greatest(x.working_until, x.standing_until) > now() AS permitted, v.expires_at <= now() AS over
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice ORDER BY x.name, v.node
"""
# Counters that disagree with the steps, steps that nothing will ever take up, ends that came twice or not at all.
_OPERATIONS = """
    SELECT o.id, o.slice, o.verb, o.ended_at, o.outcome, o.open_steps, o.in_flight, o.seq, o.parallelism,
        count(s.id) FILTER (WHERE s.state IN ('held', 'released', 'running')) AS open,
        count(s.id) FILTER (WHERE s.state IN ('released', 'running')) AS flying,
        (SELECT count(*) FROM svm.event e WHERE e.operation = o.id) AS events,
        (SELECT max(e.seq) FROM svm.event e WHERE e.operation = o.id) AS last,
        (SELECT count(*) FROM svm.event e WHERE e.operation = o.id AND e.type = 'ended') AS ends
    FROM svm.operation o LEFT JOIN svm.step s ON s.operation = o.id GROUP BY o.id
"""
_UNSCHEDULED = """
    SELECT s.id, s.kind, s.state FROM svm.step s WHERE
        (s.state = 'held' AND s.next_run_at > now() + interval '1 hour')
        OR (s.state = 'released' AND s.published_at IS NULL)
        OR (s.state = 'running' AND (s.claim_until IS NULL OR s.claim_until > now() + interval '80 seconds'))
        OR (s.state IN ('done', 'failed')) <> (s.ended_at IS NOT NULL)
"""
_OUTLAWS = """
    SELECT s.id, s.kind, s.state, x.name FROM svm.step s JOIN svm.slice x ON x.id = s.slice
    WHERE x.state <> 'open' AND s.state IN ('held', 'released', 'running') AND s.kind NOT IN ('delete', 'release')
"""
_TOLD_TWICE = """
    SELECT operation, node, kind FROM svm.event WHERE type = 'node' GROUP BY 1, 2, 3 HAVING count(*) > 1
"""

_DONE = "SELECT id FROM svm.step WHERE id = ANY(:ids) AND state = 'done'"
_HELD = "SELECT id, kind, state, attempts, claim_until FROM svm.step WHERE state = 'running' OR id = ANY(:held)"
_RENEWALS = """
    SELECT v.node, x.slice_id, count(s.id) AS steps FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    LEFT JOIN svm.step s ON s.slice = v.slice AND s.node = v.node AND s.kind = 'renew' GROUP BY 1, 2
"""


@dataclass(slots=True)
class Answer:
    """What records of one sliver's row said to be done: its newest lease, keys and pair. `jti`: under which ticket."""

    jti: str | None
    generation: int = 0
    expires_at: datetime | None = None
    key_generation: int = 0
    pair_generation: int = 0

    def add(self, done: Done) -> None:
        for name in ("generation", "key_generation", "pair_generation"):
            setattr(self, name, max(getattr(self, name), getattr(done, name) or 0))
        if done.expires_at:
            self.expires_at = max(done.expires_at, self.expires_at or done.expires_at)


AGREEING = (("running", "running"), ("stopped", "leased"))  # row and node


class Watch:
    """Looks at tables and nodes after each rule, and remembers what it saw."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self.granted: set[tuple[str, str]] = set()  # (node, ticket) that were seen to have made a lease
        self.holding: dict[tuple[str, str], LeaseRow] = {}  # (node, slice): as seen last
        self.highest: dict[tuple[str, UUID], int] = {}  # (node, slice_id): generation
        self.leases: Counter[tuple[str, UUID]] = Counter()  # (node, slice_id): tickets redeemed
        self.rows: dict[tuple[UUID, str], Any] = {}
        self.held: dict[int, Any] = {}  # claims that have not lapsed
        self.answers: dict[tuple[UUID, str], Answer] = {}  # by slice and node
        self.seen = 0  # records that are in it

    def look(self) -> None:
        """All of it."""
        for site in self.whole.sites:
            self._node(site)
        rows = self.whole.rows(_SLIVERS)
        self._hear()
        for row in rows:
            self._row(row)
            self._answered(row)
        self._compare(rows)
        self._operations()
        self._claims()
        self._renewals()

    def _node(self, site: Site) -> None:
        leases = {(site.address, row.slice): row for row in site.store.leases()}
        for key, row in leases.items():
            before = self.holding.get(key)
            if before is None or before.jti != row.jti:
                assert (key[0], row.jti) not in self.granted, f"I2: ticket {row.jti} made two leases on {key}"
                self.granted.add((key[0], row.jti))
                self.leases[key[0], row.slice_id] += 1
            highest = self.highest.get((key[0], row.slice_id), 0)
            assert row.generation >= highest, f"I4: {key} fell from {highest} to {row.generation}"
            self.highest[key[0], row.slice_id] = row.generation
            if before and before.slice_id == row.slice_id:
                assert row.expires_at >= before.expires_at, f"{key}: its lease was shortened"
        self.holding = {key: row for key, row in self.holding.items() if key[0] != site.address} | leases
        self._slivers(site, {row.slice: row for row in leases.values()})

    def _slivers(self, site: Site, leases: dict[str, LeaseRow]) -> None:
        removals = set(site.store.removals())
        for name, ids in site.slivers().items():
            assert len(ids) == 1, f"I1: {len(ids)} slivers of {name} on {site.address}"
            lease = leases.get(name)
            whole = lease is not None and (lease.state == "creating" or lease.has_sliver)
            leased = whole and lease is not None and lease.slice_id == ids[0]
            assert leased or (name, ids[0]) in removals, f"I5: a sliver of {name} without a lease on {site.address}"
        for row in leases.values() if site.alive else ():
            end = row.expires_at + timedelta(seconds=GRACE)
            assert end > self.whole.clock.now() - timedelta(seconds=2), f"I5: {row.slice} on {site.address} lives on"

    def _row(self, row: Any) -> None:
        before = self.rows.get((row.slice, row.node))
        where = f"{row.name} on {row.node}"
        if before is not None:
            assert row.generation >= before.generation, f"I4: {where} fell in the table"
            held = all(r.state in LEASED for r in (row, before))
            assert not held or row.expires_at >= before.expires_at, f"{where}: its lease was shortened in the table"
        self.rows[row.slice, row.node] = row
        if row.slice_state != "open":
            assert row.state not in LIVE, f"{where} is {row.state} although the slice is {row.slice_state}"

    def _hear(self) -> None:
        """What was recorded since, and told as done."""
        new = self.whole.writer.written[self.seen :]
        self.seen += len(new)
        done = {row.id for row in self.whole.rows(_DONE, ids=[record.claim.id for record in new])} if new else set()
        for record in new:
            claim, result = record.claim, record.result
            if isinstance(result, Done) and not result.unchanged and claim.id in done and claim.slice and claim.sliver:
                answer = self.answers.setdefault((claim.slice.id, claim.sliver.node), Answer(claim.sliver.jti))
                if answer.jti == claim.sliver.jti:
                    answer.add(result)

    def _answered(self, row: Any) -> None:
        """What was told as done is in the table until the sliver is deleted, or another ticket makes another one."""
        answer, where = self.answers.get((row.slice, row.node)), f"{row.name} on {row.node}"
        if answer is None or row.state not in LEASED or row.jti != answer.jti:
            self.answers.pop((row.slice, row.node), None)
            return
        for name in ("generation", "key_generation", "pair_generation"):
            told, there = getattr(answer, name), getattr(row, name)
            assert told <= there, f"lost: {where}: {name} {told} was told, {there} is in the table"
        assert not answer.expires_at or answer.expires_at <= row.expires_at, f"lost: {where}: a renewal that was told"

    def _compare(self, rows: list[Any]) -> None:
        """What the table says to be there is there; what it says to be gone is gone."""
        table = {(row.node, row.slice_id): row for row in rows}
        for row in rows:
            if row.state in LEASED and not row.over:
                self._is_there(row)
        for (node, name), lease in self.holding.items():
            found = table.get((node, lease.slice_id))
            # The answer may be on its way: then no row has been written yet. After its end a node has its grace.
            if found is not None and found.state == "deleted" and lease.expires_at > self.whole.clock.now():
                raise AssertionError(f"delete wins: {name} lives on {node}, and the table says that it is gone")

    def _is_there(self, row: Any) -> None:
        where = f"{row.name} on {row.node}"
        lease = self.holding.get((row.node, row.name))
        assert lease is not None, f"lost: {where} is {row.state} in the table, not at the node"
        assert lease.slice_id == row.slice_id, f"lost: {where} is another slice's at the node"
        assert lease.jti == row.jti, f"I2: {where} has the lease of another ticket"
        assert lease.generation >= row.generation, f"I4: {where}: the table is ahead of the node"
        site = self.whole.sites[int(row.node.rpartition(".")[2]) - 1]
        known = row.state != "running" or site.store.power(row.slice_id).since is not None
        assert lease.state == "running" or known, f"lost: {where} does not run at its node, and nobody says why"

    def _operations(self) -> None:
        for o in self.whole.rows(_OPERATIONS):
            where = f"{o.verb} {o.id}"
            assert (o.open_steps, o.in_flight) == (o.open, o.flying), f"{where}: its counters are wrong"
            assert (o.ended_at is None) == (o.open > 0), f"I3: {where} has {o.open} open steps and ended {o.ended_at}"
            assert o.events == (o.last or 0) == o.seq, f"{where}: events {o.events}, last {o.last}, seq {o.seq}"
            told = o.slice is not None or o.verb not in ("reconcile", "canary")
            assert o.ends == int(told and o.ended_at is not None), f"{where}: {o.ends} ends were told"
            assert o.in_flight <= o.parallelism, f"{where}: more in flight than its window"
        for query, why in ((_UNSCHEDULED, "I3: not scheduled"), (_OUTLAWS, "delete wins: still to be done")):
            found = self.whole.rows(query)
            assert not found, f"{why}: {found}"
        assert not (twice := self.whole.rows(_TOLD_TWICE)), f"told twice: {twice}"

    def _claims(self) -> None:
        """A claim is its worker's alone until it lapses."""
        now, held = self.whole.clock.now(), {}
        for row in self.whole.rows(_HELD, held=list(self.held)):
            before = self.held.get(row.id)
            taken = before is not None and before.attempts < row.attempts and before.claim_until > now
            assert not taken, f"doubled: {row.kind} step {row.id} was claimed while another worker held it"
            if row.state == "running":
                held[row.id] = row
        self.held = held

    def _renewals(self) -> None:
        """A renewal that is asked for again, by whomever, is the same renewal."""
        for row in self.whole.rows(_RENEWALS):
            key = (row.node, row.slice_id)
            reached, most = self.highest.get(key, 0), self.leases[key] + row.steps
            assert reached <= most, f"doubled: generation {reached} on {row.node} by {most} leases and renewals"

    def agree(self) -> None:
        """Once all is healed and quiet: what ought to be is, and nothing else."""
        assert not self.whole.rows("SELECT id FROM svm.operation WHERE ended_at IS NULL"), "an operation never ended"
        self.look()
        rows = self.whole.rows(_SLIVERS)
        for row in rows:
            where = f"{row.name} on {row.node}"
            assert row.state != "deleting" or not row.permitted, f"{where} is still being deleted"
            if row.state in ("running", "stopped") and not row.over:
                there = self.holding[row.node, row.name].state
                assert (row.state, there) in AGREEING, f"{where} is {row.state} in the table, {there} at its node"
            if row.state == "running" and not row.over and row.permitted:
                keys = self.holding[row.node, row.name].key_generation
                assert keys == row.key_generation == row.wanted_keys, f"{where}: keys {keys}, wanted {row.wanted_keys}"
        known = {(row.node, row.slice_id) for row in rows}
        for (node, name), lease in self.holding.items():
            assert (node, lease.slice_id) in known, f"orphan: {name} on {node}"
        for site in self.whole.sites:
            assert not site.store.removals(), f"{site.address} has not removed everything"
