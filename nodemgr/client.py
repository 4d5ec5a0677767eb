"""Client of a node manager, for workers (docs/protocol.md, "Calls").

Every method raises `trust.errors.Refusal`: the node's own code, or unreachable, timeout, wrong-certificate. All calls
are idempotent by content (docs/protocol.md, "Calls"): repeat them freely after a lost answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import Field, TypeAdapter

from agent.client import FrontDoor, delegation_header
from rpc.aio import Session
from rpc.reply import Reply
from trust.errors import Code, Refusal
from trust.identity import Identity

SliverState = Literal["leased", "creating", "running"]


@dataclass(frozen=True, slots=True)
class LeaseReply:
    """A lease as granted. `expires_at` is its end by the node's clock (UTC)."""

    token: Annotated[str, Field(alias="lease")] = field(repr=False)
    generation: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoppedReply:
    """Why a sliver does not run: its owner's order, or how it ended; and since when (UTC)."""

    ordered: bool
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class SliverReply:
    """What a node holds for one slice.

    Args:
        owner: URI of the owner's identity.
        state: `leased` (no VM yet, or one that does not run), `creating` or `running`.
        generation: of the lease, from 1, one more at each renewal.
        key_generation: of the key set; 0 = none was ever set.
        expires_at: end of the lease (UTC); the sliver lives until then plus the node's grace period.
        frontdoor: where to log in.
        has_vm: whether the sliver runs.
        keys: digest of the users' key set (`trust.sshkeys.key_set_digest`); None = the node is too old to say.
        stopped: why the sliver that is there does not run; None = it runs, there is none, or the node does not know.
    """

    slice: str
    slice_id: UUID
    owner: str
    state: SliverState
    generation: int
    key_generation: int
    expires_at: datetime
    frontdoor: FrontDoor
    has_vm: bool
    keys: str | None = None
    stopped: StoppedReply | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """A sliver that plc's operator had the node remove, and why."""

    slice: str
    slice_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a node has for its caller, and what the operator took from it lately; `leaving`: why he wants it empty."""

    slivers: tuple[SliverReply, ...]
    removed: tuple[Removed, ...] = ()
    leaving: str | None = None


_LEASE, _SLIVER, _CONTENTS = TypeAdapter(LeaseReply), TypeAdapter(SliverReply), TypeAdapter(Contents)


class NodeClient:
    """One node manager, over a session that others share.

    Args:
        session: open `rpc.aio.Session` with the caller's credentials.
        api_url: base URL, `https://ADDRESS:PORT`.
        identity: who must answer there.
        connect_timeout: seconds for TCP and TLS (the user's -t).
        deadline: seconds for a whole call.
    """

    def __init__(
        self,
        session: Session,
        api_url: str,
        identity: Identity,
        *,
        connect_timeout: float = 10,
        deadline: float = 45,
    ) -> None:
        self._session = session
        self._url = api_url.rstrip("/")
        self._identity = identity
        self._connect_timeout = connect_timeout
        self._deadline = deadline

    async def redeem(self, ticket: str, delegation: str | None) -> LeaseReply:
        """Ticket to lease. The same holder asking again gets the same lease, unless it was deleted since."""
        reply = await self._call("POST", "/leases", delegation, {"ticket": ticket})
        return _LEASE.validate_python(_object(reply))

    async def create(
        self,
        slice: str,
        lease: str,
        private_key: str,
        public_key: str,
        delegation: str | None,
        pair_generation: int = 0,
    ) -> SliverReply:
        """Lease to sliver. A sliver that is there under this lease is returned as it is."""
        pair = {"private_key": private_key, "public_key": public_key, "pair_generation": pair_generation}
        body = {"lease": lease, **pair}
        reply = await self._call("PUT", _path(slice), delegation, body)
        return _SLIVER.validate_python(_object(reply))

    async def set_access(
        self, slice: str, slice_id: UUID, generation: int, keys: Sequence[str], delegation: str | None
    ) -> int:
        """Replace the whole key set; the generation in force afterwards. A lower one is STALE_GENERATION."""
        body = {"slice_id": str(slice_id), "generation": generation, "keys": list(keys)}
        reply = await self._call("PUT", f"{_path(slice)}/access", delegation, body)
        return int(_object(reply)["generation"])

    async def set_pair(
        self, slice: str, slice_id: UUID, generation: int, private_key: str, public_key: str, delegation: str | None
    ) -> int:
        """Replace the slice's own key pair; the generation in force afterwards. A lower one is STALE_GENERATION."""
        pair = {"private_key": private_key, "public_key": public_key, "generation": generation}
        reply = await self._call("PUT", f"{_path(slice)}/pair", delegation, {"slice_id": str(slice_id), **pair})
        return int(_object(reply)["generation"])

    async def renew(
        self, slice: str, slice_id: UUID, from_generation: int, delegation: str | None, leaselen: int | None = None
    ) -> LeaseReply:
        """A lease to now + leaselen in the place of generation n. When n + 1 is there already, that one.

        `leaselen`: another than before, seconds, from now on; an older node refuses it as BAD_INPUT.
        """
        body = {"slice_id": str(slice_id), "from_generation": from_generation}
        body |= {} if leaselen is None else {"leaselen": leaselen}
        reply = await self._call("POST", f"{_path(slice)}/renew", delegation, body)
        return _LEASE.validate_python(_object(reply))

    async def order(
        self, what: str, slice: str, slice_id: UUID, given_at: datetime, delegation: str | None
    ) -> SliverReply:
        """stop, start, restart or reset; the same order, by `given_at`, is done once. STALE_GENERATION when a later one
        has come."""
        body = {"slice_id": str(slice_id), "given_at": given_at.isoformat()}
        reply = await self._call("POST", f"{_path(slice)}/{what}", delegation, body)
        return _SLIVER.validate_python(_object(reply))

    async def get(self, slice: str, delegation: str | None = None) -> SliverReply:
        """What the node holds under that name, or Refusal(NOT_FOUND)."""
        reply = await self._call("GET", _path(slice), delegation)
        return _SLIVER.validate_python(_object(reply))

    async def inventory(self) -> list[SliverReply]:
        """Everything on this node that is the caller's own, or that was made through it when the caller is an svm."""
        return list((await self.contents()).slivers)

    async def contents(self) -> Contents:
        """The same, and for an svm what the operator had removed of it."""
        return _CONTENTS.validate_python(_object(await self._call("GET", "/slivers", None)))

    async def delete(self, slice: str, slice_id: UUID, jti: str | None, delegation: str | None) -> None:
        """Burn the ticket `jti`, forget the lease, remove the sliver. Success also when nothing is there."""
        body = {"slice_id": str(slice_id), "jti": jti}
        await self._call("DELETE", _path(slice), delegation, body)

    async def _call(
        self, method: str, path: str, delegation: str | None, json: Mapping[str, object] | None = None
    ) -> Reply:
        return await self._session.call(
            method,
            self._url + path,
            expect=self._identity,
            json=json,
            headers=delegation_header(delegation),
            connect_timeout=self._connect_timeout,
            deadline=self._deadline,
        )


def _path(slice: str) -> str:
    return f"/slivers/{quote(slice, safe='')}"


def _object(reply: Reply) -> Mapping[str, Any]:
    if not isinstance(reply.body, dict):
        raise Refusal(Code.INTERNAL, "the node's answer is not an object; report this to its operator")
    return reply.body
