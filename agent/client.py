"""Client of the agent, for workers, svmd and node managers (docs/protocol.md, "Calls").

Every method raises `trust.errors.Refusal`: the agent's own code, or unreachable, timeout, wrong-certificate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from pydantic import Field, TypeAdapter

from rpc.aio import Session
from trust.documents import sign_delegation, working_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.needs import NOTHING, Needs

AD_LIFETIME = 60  # seconds: an older advertisement does not count (docs/protocol.md, "POST /tickets")


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """Where SSH answers on a node, and the one host key it shows (`type base64`, one line)."""

    address: str
    port: int
    host_key: str


@dataclass(frozen=True, slots=True)
class Ad:
    """What a node advertises.

    Args:
        node: its name, as in its certificate; users see `address`.
        api: base URL of its node manager, `https://ADDRESS:PORT`.
        slots_free: slivers it would still take; `slots` is how many it takes in all.
        memory_free_mb: memory in MiB not yet promised to slivers.
        max_leaselen: the longest lease it grants, seconds.
        simulated: nothing to log in to there.
        expires_at: when the advertisement stops counting (set by the agent).
        disk_free_mb: about so much room its slivers have on its disk, MiB; 0: it counts as full, and the node takes no
            new sliver. None where the node does not say it.
        memory_mb, disk_mb: all that its slivers may have together; None where the node does not say it.
        sliver_mb: memory of a sliver that does not say what it needs, MiB; None for a node that knows of no needs.
        most_processes: of a sliver that says how many it needs.
        disk_unpromised_mb: disk in MiB not yet promised to slivers; None where nobody counts it.
        images: digests of its images by their names; None: it has none.
        quota: what holds a sliver to its disk: `hard`, `watched` or `none`; None where the node does not say it.
        slivers: that it holds, or has promised; None where the node does not say it, as the two that follow.
        version, driver: of its node manager, for its operator.
    """

    node: str
    address: str
    api: str
    site: str
    slots_free: int
    slots: int
    memory_free_mb: int
    max_leaselen: int
    frontdoor: FrontDoor
    simulated: bool
    expires_at: datetime
    disk_free_mb: int | None = None
    memory_mb: int | None = None
    disk_mb: int | None = None
    sliver_mb: int | None = None
    most_processes: int | None = None
    disk_unpromised_mb: int | None = None
    images: Mapping[str, str] | None = None
    quota: str | None = None
    slivers: int | None = None
    version: str | None = None
    driver: str | None = None

    @property
    def identity(self) -> Identity:
        """Who must answer at `api`."""
        return Identity(Role.NODE, self.node)

    def digest(self, needs: Needs) -> str | None:
        """Of the image that is needed, as this node has it."""
        return (self.images or {}).get(needs.image or "")


@dataclass(frozen=True, slots=True)
class AdList:
    """All current advertisements and the tag to ask with next time."""

    ads: tuple[Ad, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A ticket that was given back before its node saw it; the node must not take it any more."""

    jti: str
    owner: Identity
    slice_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Heard:
    """An agent's answer to an advertisement.

    Args:
        returned: tickets for the node that were given back: it burns them and says so.
        tag: what it is repeated by; None for an agent that wants all of it each time.
    """

    returned: tuple[Returned, ...]
    tag: str | None


@dataclass(frozen=True, slots=True)
class Promise:
    """A ticket with where to redeem it. `token` is secret-like and not in repr."""

    node: str
    address: str
    api: str
    frontdoor: FrontDoor
    jti: str
    token: Annotated[str, Field(alias="ticket")] = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Tickets:
    """The answer to one request for tickets: all of them, in the order of allocation.

    `digest`: of the image that was asked for, the same on all these nodes.
    """

    slice_id: UUID
    agent: str
    promises: Annotated[tuple[Promise, ...], Field(alias="tickets")]
    digest: str | None = None


_AD, _ADS, _TICKETS = TypeAdapter(Ad), TypeAdapter(tuple[Ad, ...]), TypeAdapter(Tickets)


class AgentClient:
    """One agent, over a session that others share.

    Args:
        session: open `rpc.aio.Session` with the caller's credentials.
        url: base URL of the agent.
        identity: who must answer there.
    """

    def __init__(self, session: Session, url: str, identity: Identity) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._identity = identity

    async def ads(self, etag: str | None = None) -> AdList | None:
        """The current advertisements; None when they are still those of `etag`."""
        headers = {} if etag is None else {"If-None-Match": etag}
        reply = await self._session.call("GET", f"{self._url}/ads", expect=self._identity, headers=headers)
        if reply.status == 304:
            return None
        body = _object(reply.body)
        return AdList(_ADS.validate_python(body["ads"]), reply.headers.get("etag", ""))

    async def advertise(self, ad: Ad, burnt: Sequence[str] = ()) -> Heard:
        """Say what this node has; only the node itself may, from the address in its certificate.

        Args:
            burnt: ids of this agent's tickets, not yet past their end, that `ad.slots_free` already counts.
        """
        said = {**ad_to_json(ad), "burnt": list(burnt)}
        return await self._put_ad(ad.node, json=said)

    async def repeat(self, node: str, tag: str) -> Heard:
        """Say that nothing has changed since the advertisement that was answered with this tag.

        Raises Refusal(NOT_FOUND) where the agent does not have it any more, and needs all of it.
        """
        heard = await self._put_ad(node, headers={"If-Match": tag})
        return Heard(heard.returned, tag)

    async def _put_ad(self, node: str, **said: Any) -> Heard:
        url = f"{self._url}/ads/{quote(node, safe='')}"
        reply = await self._session.call("PUT", url, expect=self._identity, **said)
        returned = tuple(_returned(one) for one in reply.body["returned"]) if isinstance(reply.body, dict) else ()
        return Heard(returned, reply.headers.get("etag"))

    async def tickets(
        self,
        *,
        slice: str,
        numnodes: int,
        leaselen: int,
        ips: Sequence[str] = (),
        exclude: Sequence[str] = (),
        needs: Needs = NOTHING,
        delegation: str | None,
        idempotency_key: str,
    ) -> Tickets:
        """Tickets for `numnodes` nodes, or Refusal and nothing taken (TOO_FEW_NODES carries `available`).

        Args:
            leaselen: seconds that each lease will last.
            ips: addresses to take from, in this order; empty = the agent's choice.
            exclude: addresses never to take.
            needs: what each sliver is to have; where it names an image and no digest, the agent chooses one.
            delegation: the owner's, to the caller when that is an svm; a user who asks by himself leaves it to this
                client to sign one to the agent.
            idempotency_key: the same key asks for the same answer again.
        """
        wanted = {
            "slice": slice,
            "numnodes": numnodes,
            "leaselen": leaselen,
            "ips": list(ips),
            "exclude": list(exclude),
            **_needed(needs),
        }
        signed = delegation or self._own_delegation(slice)
        headers = {"Idempotency-Key": idempotency_key, **delegation_header(signed)}
        reply = await self._session.call(
            "POST", f"{self._url}/tickets", expect=self._identity, json=wanted, headers=headers
        )
        return tickets_from_json(_object(reply.body))

    def _own_delegation(self, slice: str) -> str | None:
        """A user's, to this agent: plc registers no name without its owner's signature."""
        user = self._session.credentials
        if user is None or user.identity.role is not Role.USER:
            return None
        mine = working_delegation(user.identity, self._identity, slice, user.certificate, datetime.now(UTC))
        return sign_delegation(mine, user.key, user.certificate)

    async def return_ticket(self, jti: str, delegation: str | None) -> None:
        """Give an unused ticket back. Its place is free once its node has heard of it and refuses it.

        Idempotent until then; afterwards, as for one that was redeemed, Refusal(NOT_FOUND).
        """
        url = f"{self._url}/tickets/{quote(jti, safe='')}"
        await self._session.call("DELETE", url, expect=self._identity, headers=delegation_header(delegation))

    async def plan(
        self,
        *,
        owner: Identity,
        slice: str,
        numnodes: int,
        ips: Sequence[str],
        exclude: Sequence[str],
        needs: Needs = NOTHING,
    ) -> tuple[Ad, ...]:
        """The nodes that `tickets` would give this owner at this moment, by the same rule; nothing is held.

        Raises Refusal as `tickets`: TOO_FEW_NODES carries `available`.
        """
        which = {"slice": slice, "numnodes": numnodes, "ips": [*ips], "exclude": [*exclude], **_needed(needs)}
        wanted = {"owner": owner.uri, **which}
        reply = await self._session.call("POST", f"{self._url}/plans", expect=self._identity, json=wanted)
        return tuple(ad_from_json(ad) for ad in _object(reply.body)["ads"])

    async def release_slice(
        self, name: str, slice_id: UUID, held_until: datetime | None, delegation: str | None
    ) -> None:
        """Give the slice's name back to plc; until `held_until` only the same owner may take it again. Idempotent."""
        body = {"slice_id": str(slice_id), "held_until": held_until.isoformat() if held_until else None}
        url = f"{self._url}/slices/{quote(name, safe='')}"
        headers = delegation_header(delegation)
        await self._session.call("DELETE", url, expect=self._identity, json=body, headers=headers)


def _needed(needs: Needs) -> dict[str, Any]:
    """Sent only where it says something: an agent that knows of no needs refuses the member."""
    return {"needs": needs.to_json()} if needs else {}


def delegation_header(delegation: str | None) -> dict[str, str]:
    """The header in which a delegation travels; none for an owner who calls for himself."""
    return {} if delegation is None else {"Dslice-Delegation": delegation}


def ad_to_json(ad: Ad) -> dict[str, Any]:
    """One advertisement as it travels: its fields, times in ISO 8601; what is not known is left out."""
    said: dict[str, Any] = _AD.dump_python(ad, mode="json", exclude_none=True)
    return said


def ad_from_json(value: Mapping[str, Any]) -> Ad:
    """Inverse of `ad_to_json`; members that are not known here are passed over."""
    return _AD.validate_python(value)


def tickets_to_json(tickets: Tickets) -> str:
    """The answer of `POST /tickets` as it travels."""
    return _TICKETS.dump_json(tickets, by_alias=True, exclude_none=True).decode()


def tickets_from_json(body: Mapping[str, Any]) -> Tickets:
    """Inverse of `tickets_to_json`."""
    return _TICKETS.validate_python(body)


def returned_to_json(ticket: Returned) -> dict[str, str]:
    """A ticket that was given back, as its node hears of it."""
    ids = {"jti": ticket.jti, "owner": ticket.owner.uri, "slice_id": str(ticket.slice_id)}
    return {**ids, "expires_at": ticket.expires_at.isoformat()}


def _returned(value: Mapping[str, Any]) -> Returned:
    owner, end = Identity.parse(value["owner"]), datetime.fromisoformat(value["expires_at"])
    return Returned(str(value["jti"]), owner, UUID(value["slice_id"]), end)


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(Code.INTERNAL, "the agent's answer is not an object; report this to its operator")
    return body
