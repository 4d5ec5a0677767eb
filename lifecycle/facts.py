"""What a step knows of its slice and its sliver: the rows as they were at the claim."""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from lifecycle.rows import of_row
from models.states import SliceState, SliverState
from trust.identity import Identity
from trust.needs import NOTHING, Needs


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
    leaselen_changed: bool = False
    needs: Needs = NOTHING
    by_link: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SliverFacts:
    """What a step needs to know of its node's sliver, as it was at the claim. `overdue`: seconds since its end;
    `replaces`: the node whose sliver ends when this one runs."""

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
    pair_generation: int
    replaces: str | None = None

    @property
    def expired(self) -> bool:
        """Whether its ticket or lease is past its end, by the database's clock."""
        return self.overdue is not None and self.overdue >= 0


def slice_facts(row: Row[Any]) -> SliceFacts:
    """Of a row of the slice."""
    asked = {"ips": tuple(row.ips), "agents": tuple(row.agents), "needs": Needs.from_json(row.needs)}
    return of_row(SliceFacts, row, owner=Identity.parse(row.owner), state=SliceState(row.state), **asked)


def sliver_facts(row: Row[Any]) -> SliverFacts:
    """Of a row of the sliver, with how long ago it ended."""
    overdue = None if row.overdue is None else math.floor(row.overdue)
    known = {"node": row.sliver, "state": SliverState(row.sliver_state), "redeemed": row.redeemed_at is not None}
    return of_row(SliverFacts, row, overdue=overdue, **known)
