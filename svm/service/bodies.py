"""What svmd reads and writes (docs/svmd.md). Everything a user sent is checked here, once, before it goes on."""

from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from fastapi import Header
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from lifecycle.events import Event
from lifecycle.operations import Operation, SliceSpec
from lifecycle.slices import Slice, Sliver
from trust.documents import MAX_LEASELEN
from trust.errors import Refusal
from trust.jws import MAX_TOKEN
from trust.names import check_slice_name
from trust.sshkeys import parse_public_key

MAX_NODES = 100_000
MAX_LISTED = 10_000

UserVerb = Literal[
    "createslice",
    "newtickets",
    "newleases",
    "newvms",
    "addkey",
    "delkey",
    "nukekeys",
    "rekey",
    "renewslice",
    "deleteslice",
    "clean",
    "autorenew",
    "heal",
    "delegate",
    "undelegate",
]


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


def _name_or_none(text: str) -> str:
    return _slice_name(text) if text else ""


Address = Annotated[str, Field(max_length=64), AfterValidator(_address)]
Addresses = Annotated[list[Address], Field(max_length=MAX_LISTED)]
AgentNames = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)]
Key = Annotated[str, Field(max_length=16_384), AfterValidator(_key)]
Token = Annotated[str, Field(max_length=MAX_TOKEN)]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[!-~]{1,128}$")]
DelegationHeader = Annotated[str | None, Header(alias="Dslice-Delegation", max_length=MAX_TOKEN)]


class SpecBody(BaseModel):
    """The slice file, without its name."""

    model_config = ConfigDict(strict=True, extra="forbid")
    numnodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    leaselen: Annotated[int, Field(ge=1, le=MAX_LEASELEN)]
    ips: Addresses = []

    def spec(self) -> SliceSpec:
        return SliceSpec(self.numnodes, self.leaselen, tuple(self.ips))


class OperationBody(BaseModel):
    """`POST /operations`."""

    model_config = ConfigDict(extra="forbid")
    verb: UserVerb
    slice: Annotated[str, Field(max_length=64), AfterValidator(_name_or_none)] = ""
    spec: SpecBody | None = None
    nodes: Addresses = []
    keys: Annotated[list[Key], Field(max_length=64)] = []
    parallelism: Annotated[int, Field(ge=1, le=1024)] = 16
    connect_timeout: Annotated[int, Field(ge=1, le=3600)] = 10
    agents: AgentNames = []
    standing: Token | None = None
    autorenew: bool | None = None
    until: AwareDatetime | None = None
    heal: bool | None = None
    replace: bool = False


class PlanBody(SpecBody):
    """`POST /plans`: which nodes would createslice take now?"""

    slice: Annotated[str, Field(max_length=64), AfterValidator(_slice_name)]
    agents: AgentNames = []


def operation_json(found: Operation) -> dict[str, Any]:
    """An operation as its owner sees it."""
    return {
        "operation": str(found.id),
        "verb": found.verb,
        "slice": found.slice,
        "actor": found.actor,
        "parallelism": found.parallelism,
        "connect_timeout": found.connect_timeout,
        "open_steps": found.open_steps,
        "in_flight": found.in_flight,
        "seq": found.seq,
        "ok": found.ok,
        "failed": found.failed,
        "outcome": found.outcome,
        "code": found.code,
        "reason": found.reason,
        "started_at": _time(found.started_at),
        "ended_at": _time(found.ended_at),
    }


def event_json(event: Event) -> dict[str, Any]:
    """One event, as it travels in streams and histories."""
    return {
        "operation": str(event.operation),
        "seq": event.seq,
        "at": _time(event.at),
        "actor": event.actor,
        "type": event.type,
        "node": event.node,
        "kind": event.kind,
        "before": event.before,
        "after": event.after,
        "ok": event.ok,
        "code": event.code,
        "reason": event.reason,
        "detail": dict(event.detail),
    }


def slice_json(found: Slice) -> dict[str, Any]:
    """A slice without its nodes."""
    return {
        "name": found.name,
        "slice_id": found.slice_id and str(found.slice_id),
        "owner": found.owner.name,
        "state": found.state,
        "numnodes": found.numnodes,
        "leaselen": found.leaselen,
        "ips": list(found.ips),
        "agents": list(found.agents),
        "public_key": found.public_key,
        "key_generation": found.key_generation,
        "autorenew": found.autorenew,
        "autorenew_until": _time(found.autorenew_until),
        "heal": found.heal,
        "working_until": _time(found.working_until),
        "standing_until": _time(found.standing_until),
        "created_at": _time(found.created_at),
        "nodes": dict(found.nodes),
        "first_end": _time(found.first_end),
    }


def sliver_json(sliver: Sliver) -> dict[str, Any]:
    """One node of a slice."""
    address, port, host_key = sliver.frontdoor
    return {
        "node": sliver.node,
        "name": sliver.node_name,
        "state": sliver.state,
        "generation": sliver.generation,
        "expires_at": _time(sliver.expires_at),
        "renew_at": _time(sliver.renew_at),
        "key_generation": sliver.key_generation,
        "frontdoor": {"address": address, "port": port, "host_key": host_key},
        "attempts": sliver.attempts,
        "code": sliver.code,
        "last_error": sliver.last_error,
        "changed_at": _time(sliver.changed_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
