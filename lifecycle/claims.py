"""Claims: a worker takes steps for a while, in a transaction that is committed before any request goes out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from models.states import Kind, SliceState, SliverState, Verb
from trust.identity import Identity

# Deletion wins: nothing but delete and release is taken once the slice is no longer open.
_TAKE = text("""
    WITH due AS (
        SELECT id FROM svm.step AS s
        WHERE id = ANY(:ids) AND next_run_at <= now()
          AND (state = 'released' OR (state = 'running' AND claim_until < now()))
          AND (kind IN ('delete', 'release')
               OR NOT EXISTS (SELECT 1 FROM svm.slice WHERE slice.id = s.slice AND slice.state <> 'open'))
        ORDER BY id FOR UPDATE OF s SKIP LOCKED),
    taken AS (
        UPDATE svm.step SET state = 'running', claim_token = :token, attempts = attempts + 1,
            claim_until = now() + make_interval(secs => :seconds), started_at = coalesce(started_at, now())
        FROM due WHERE step.id = due.id RETURNING step.*)
    SELECT t.id, t.kind, t.operation, t.node, t.attempts, t.tries,
        extract(epoch FROM now() - t.started_at) AS age, extract(epoch FROM now() - o.started_at) AS asked,
        o.verb, o.connect_timeout, o.options,
        x.id AS slice, x.slice_id, x.name, x.owner, x.state AS slice_state, x.numnodes, x.leaselen, x.ips, x.agents,
        x.public_key, x.sealed_key, x.key_generation AS wanted_keys, x.pair_generation, x.pair_wanted,
        CASE WHEN x.working_until > now() THEN x.working END AS working,
        CASE WHEN x.standing_until > now() THEN x.standing END AS standing,
        v.node AS sliver, v.node_name, v.api, v.agent, v.state AS sliver_state, v.ticket, v.jti, v.lease, v.generation,
        v.expires_at, extract(epoch FROM now() - v.expires_at) AS overdue, v.redeemed_at, v.key_generation
    FROM taken t
    JOIN svm.operation o ON o.id = t.operation
    LEFT JOIN svm.slice x ON x.id = t.slice
    LEFT JOIN svm.sliver v ON v.slice = t.slice AND v.node = t.node
    ORDER BY t.id
""")

# From now on the ticket may be burnt at its node, whatever becomes of the answer.
_MARK_REDEEMED = text("""
    UPDATE svm.sliver SET redeemed_at = now()
    WHERE (slice, node) IN (
        SELECT v.slice, v.node FROM svm.step s JOIN svm.sliver v ON v.slice = s.slice AND v.node = s.node
        WHERE s.id = ANY(:ids) AND v.redeemed_at IS NULL ORDER BY v.slice, v.node FOR UPDATE OF v)
""")


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """What a step needs to know of its slice, as it was at the claim. Secrets stay out of repr."""

    id: UUID
    slice_id: UUID | None
    name: str
    owner: Identity
    state: SliceState
    numnodes: int
    leaselen: int
    ips: tuple[str, ...]
    agents: tuple[str, ...]
    public_key: str | None
    sealed_key: bytes | None = field(repr=False)
    key_generation: int
    working: str | None = field(repr=False)
    standing: str | None = field(repr=False)
    pair_generation: int = 0
    pair_wanted: int = 0


@dataclass(frozen=True, slots=True)
class SliverFacts:
    """What a step needs to know of its node's sliver, as it was at the claim. `overdue`: seconds since its end."""

    node: str
    node_name: str
    api: str
    agent: str
    state: SliverState
    ticket: str | None = field(repr=False)
    jti: str | None
    lease: str | None = field(repr=False)
    generation: int
    expires_at: datetime | None
    overdue: int | None
    redeemed: bool
    key_generation: int

    @property
    def expired(self) -> bool:
        """Whether its ticket or lease is past its end, by the database's clock."""
        return self.overdue is not None and self.overdue >= 0


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed step.

    Args:
        tries: transient failures recorded so far.
        age: seconds since it first started; `asked` since its operation was asked for.
    """

    id: int
    token: UUID
    kind: Kind
    operation: UUID
    verb: Verb
    node: str | None
    attempts: int
    tries: int
    age: int
    asked: int
    connect_timeout: int
    options: Mapping[str, object]
    slice: SliceFacts | None
    sliver: SliverFacts | None


def claim(connection: Connection, ids: Sequence[int], *, seconds: int) -> list[Claim]:
    """Take those of `ids` that are due and unheld (released, or their claim has lapsed), for `seconds`.

    The rest is someone else's or done: passed over quietly. The caller commits before it acts.
    """
    token = uuid4()
    rows = connection.execute(_TAKE, {"ids": list(ids), "token": token, "seconds": seconds}).all()
    redeeming = [row.id for row in rows if row.kind == Kind.NEWLEASES]
    if redeeming:
        connection.execute(_MARK_REDEEMED, {"ids": redeeming})
    return [_claim(row, token) for row in rows]


def _claim(row: Row[Any], token: UUID) -> Claim:
    return Claim(
        id=row.id,
        token=token,
        kind=Kind(row.kind),
        operation=row.operation,
        verb=Verb(row.verb),
        node=row.node,
        attempts=row.attempts,
        tries=row.tries,
        age=int(row.age),
        asked=int(row.asked),
        connect_timeout=row.connect_timeout,
        options=row.options,
        slice=_slice_facts(row) if row.slice else None,
        sliver=_sliver_facts(row) if row.sliver else None,
    )


def _slice_facts(row: Row[Any]) -> SliceFacts:
    return SliceFacts(
        id=row.slice,
        slice_id=row.slice_id,
        name=row.name,
        owner=Identity.parse(row.owner),
        state=SliceState(row.slice_state),
        numnodes=row.numnodes,
        leaselen=row.leaselen,
        ips=tuple(row.ips),
        agents=tuple(row.agents),
        public_key=row.public_key,
        sealed_key=row.sealed_key,
        key_generation=row.wanted_keys,
        working=row.working,
        standing=row.standing,
        pair_generation=row.pair_generation,
        pair_wanted=row.pair_wanted,
    )


def _sliver_facts(row: Row[Any]) -> SliverFacts:
    return SliverFacts(
        node=row.sliver,
        node_name=row.node_name,
        api=row.api,
        agent=row.agent,
        state=SliverState(row.sliver_state),
        ticket=row.ticket,
        jti=row.jti,
        lease=row.lease,
        generation=row.generation,
        expires_at=row.expires_at,
        overdue=None if row.overdue is None else math.floor(row.overdue),
        redeemed=row.redeemed_at is not None,
        key_generation=row.key_generation,
    )
