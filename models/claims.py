"""Claims: a worker takes steps for a while, in a transaction that is committed before any request goes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from models.states import Kind, SliceState, SliverState, Verb
from trust.identity import Identity


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


@dataclass(frozen=True, slots=True)
class SliverFacts:
    """What a step needs to know of its node's sliver, as it was at the claim."""

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
    expired: bool
    redeemed: bool
    key_generation: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed step. `age` = seconds since it first started; `tries` = transient failures recorded so far."""

    id: int
    token: UUID
    kind: Kind
    operation: UUID
    verb: Verb
    node: str | None
    attempts: int
    tries: int
    age: int
    connect_timeout: int
    options: Mapping[str, object]
    slice: SliceFacts | None
    sliver: SliverFacts | None


def claim(connection: Connection, ids: Sequence[int], *, seconds: int) -> list[Claim]:
    """Take those of `ids` that are due and unheld (released, or their claim has lapsed), for `seconds`.

    The rest is someone else's or done: passed over quietly. The caller commits before it acts.
    """
    raise NotImplementedError
