"""What svmd reads and writes (docs/svmd.md). Everything a user sent is checked here, once, before it goes on."""

from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Self, Union
from uuid import UUID

from fastapi import Header
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    model_validator,
)

from lifecycle.events import Event
from lifecycle.operations import Operation, SliceSpec
from lifecycle.slices import Slice, Sliver
from lifecycle.verbs import USER_VERBS, Takes
from models.states import Verb
from trust.documents import MAX_LEASELEN
from trust.errors import Refusal
from trust.jws import MAX_TOKEN
from trust.names import check_slice_name
from trust.needs import NOTHING, Needs, needed
from trust.sshkeys import parse_public_key

MAX_NODES = 100_000
MAX_LISTED = 10_000


def _address(text: str) -> str:
    return str(ip_address(text))


def _key(text: str) -> str:
    try:
        return parse_public_key(text).line
    except Refusal as refusal:
        raise ValueError(refusal.reason) from refusal


def _slice_name(text: str) -> str:
    try:
        return check_slice_name(text)
    except Refusal as refusal:
        raise ValueError(refusal.reason) from refusal


def _without_digest(needs: Needs) -> Needs:
    if needs.digest is not None:
        raise ValueError("which digest an image has is the agent's to say; name the image only")
    return needs


Address = Annotated[str, Field(max_length=64), AfterValidator(_address)]
SliceName = Annotated[str, Field(max_length=64), AfterValidator(_slice_name)]
Addresses = Annotated[list[Address], Field(max_length=MAX_LISTED)]
AgentNames = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)]
Key = Annotated[str, Field(max_length=16_384), AfterValidator(_key)]
Token = Annotated[str, Field(max_length=MAX_TOKEN)]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[!-~]{1,128}$")]
DelegationHeader = Annotated[str | None, Header(alias="Dslice-Delegation", max_length=MAX_TOKEN)]
RenewalHeader = Annotated[str | None, Header(alias="Dslice-Renewal", max_length=MAX_TOKEN)]


class SpecBody(BaseModel):
    """The slice file, without its name."""

    model_config = ConfigDict(strict=True, extra="forbid")
    numnodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    leaselen: Annotated[int, Field(ge=1, le=MAX_LEASELEN)]
    ips: Addresses = []
    needs: Annotated[Needs, PlainValidator(needed), AfterValidator(_without_digest)] | None = None

    def spec(self) -> SliceSpec:
        return SliceSpec(self.numnodes, self.leaselen, tuple(self.ips), self.needs or NOTHING)


class OperationBody(BaseModel):
    """`POST /operations`: what every verb has; those that follow have what `lifecycle.verbs.Takes` says."""

    model_config = ConfigDict(extra="forbid")
    verb: Verb
    slice: Annotated[str, Field(max_length=0)] = ""
    parallelism: Annotated[int, Field(ge=1, le=1024)] = 16
    connect_timeout: Annotated[int, Field(ge=1, le=3600)] = 10

    @model_validator(mode="before")
    @classmethod
    def _said(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A member that says nothing may stand with any verb."""
        blank: tuple[Any, ...] = (None, "", [])
        return {name: said for name, said in given.items() if said not in blank and (name, said) != ("replace", False)}


class _SliceBody(OperationBody):
    slice: SliceName


class _FileBody(_SliceBody):
    spec: SpecBody
    agents: AgentNames = []

    @model_validator(mode="after")
    def _ips_fit(self) -> Self:
        if self.spec.ips and len(self.spec.ips) < self.spec.numnodes:
            raise ValueError("ips lists fewer nodes than numnodes; list more or ask for fewer")
        if len(set(self.spec.ips)) < len(self.spec.ips):
            raise ValueError("ips lists a node twice; keep one")
        return self


class _NodesBody(_SliceBody):
    nodes: Addresses = []


class _TheseNodesBody(_SliceBody):
    nodes: Annotated[list[Address], Field(min_length=1, max_length=MAX_LISTED)]


class _KeysBody(_SliceBody):
    keys: Annotated[list[Key], Field(min_length=1, max_length=64)]


class _DelegateBody(_SliceBody):
    standing: Token


class _HealBody(_SliceBody):
    heal: bool
    standing: Token | None = None

    @model_validator(mode="after")
    def _is_allowed(self) -> Self:
        if self.heal is (self.standing is None):
            raise ValueError("a standing delegation goes with heal true, and only there")
        return self


class _RenewingBody(_SliceBody):
    autorenew: bool | None = None
    until: AwareDatetime | None = None
    standing: Token | None = None

    @model_validator(mode="after")
    def _is_allowed(self) -> Self:
        if (self.autorenew is True) is (self.standing is None):
            raise ValueError("a standing delegation goes with autorenew true, and only there")
        if self.until is not None and self.autorenew is not True:
            raise ValueError("until goes with autorenew true only")
        return self


class _AutorenewBody(_RenewingBody):
    autorenew: bool


class _CreationBody(_FileBody, _RenewingBody):
    replace: bool = False


_BODIES: dict[Takes, type[OperationBody]] = {
    Takes.NOTHING: OperationBody,
    Takes.SLICE: _SliceBody,
    Takes.FILE: _FileBody,
    Takes.FILE_AND_OPTIONS: _CreationBody,
    Takes.NODES: _NodesBody,
    Takes.THESE_NODES: _TheseNodesBody,
    Takes.KEYS: _KeysBody,
    Takes.STANDING: _DelegateBody,
    Takes.AUTORENEW: _AutorenewBody,
    Takes.HEAL: _HealBody,
}


def _verb(given: Any) -> str | None:
    verb = given.get("verb") if isinstance(given, dict) else None
    return verb if isinstance(verb, str) else None


if TYPE_CHECKING:
    AnyBody = OperationBody
else:
    AnyBody = Annotated[
        Union[tuple(Annotated[_BODIES[row.takes], Tag(verb)] for verb, row in USER_VERBS.items())],  # noqa: UP007
        Discriminator(_verb, "verb", f"its verb must be one of {' '.join(USER_VERBS)}"),
    ]
"""The body of a verb by the table, so that a verb has what it needs and nothing that it would pass over in silence."""


class PlanBody(SpecBody):
    """`POST /plans`: which nodes would createslice take now?"""

    slice: SliceName
    agents: AgentNames = []


def operation_json(found: Operation) -> dict[str, Any]:
    """An operation as its owner sees it."""
    return {"operation": str(found.id), **_members(found, "id", "owner")}


def event_json(event: Event) -> dict[str, Any]:
    """One event, as it travels in streams and histories."""
    return _members(event)


def slice_json(found: Slice) -> dict[str, Any]:
    """A slice without its nodes."""
    return {**_members(found, "id"), "owner": found.owner.name}


def sliver_json(sliver: Sliver) -> dict[str, Any]:
    """One node of a slice."""
    address, port, host_key = sliver.frontdoor
    door = {"address": address, "port": port, "host_key": host_key}
    return {**_members(sliver, "node_name"), "name": sliver.node_name, "frontdoor": door}


def _members(found: Operation | Event | Slice | Sliver, *without: str) -> dict[str, Any]:
    """Its fields, as JSON has them."""
    return {name: _plain(getattr(found, name)) for name in found.__dataclass_fields__ if name not in without}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Needs):
        return value.to_json()
    return str(value) if isinstance(value, UUID) else value
