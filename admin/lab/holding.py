"""What nodes hold, as they say it themselves: to retire one, and to find what no table knows."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from trust.errors import Code, Refusal
from trust.identity import Identity, Role

if TYPE_CHECKING:
    from admin.lab.reach import Reach
    from plc.client.orders import Enrolled

SIDE_BY_SIDE = 32
DEADLINE = 20  # seconds for one node


@dataclass(frozen=True, slots=True)
class Held:
    """One sliver at a node.

    Args:
        via: the service manager through which it was made; None for one that its owner made himself.
        expires_at: end of its lease (ISO 8601).
    """

    node: str
    slice: str
    slice_id: UUID
    owner: str
    via: str | None
    state: str
    expires_at: str

    @classmethod
    def read(cls, node: str, body: Mapping[str, Any]) -> Self:
        ids = str(body["slice"]), UUID(body["slice_id"]), str(body["owner"]), body["via"]
        return cls(node, *ids, str(body["state"]), str(body["expires_at"]))


def held_at(reach: "Reach", node: "Enrolled") -> list[Held]:
    """What one node holds. Raises Refusal; UNREACHABLE says what may be done about a node that is lost."""
    apis = _apis(reach)
    if node.name not in apis:
        raise Refusal(Code.UNREACHABLE, f"no agent has heard of {node.name}; if it is gone for good, say --lost")
    try:
        return _ask(reach, node.name, apis[node.name])
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{refusal.reason}; if {node.name} is gone for good, say --lost") from refusal


def leaving(reach: "Reach", node: "Enrolled") -> bool:
    """Whether a node has heard that it is to be empty. Raises Refusal; NOT_FOUND where no agent has heard of it."""
    api = _apis(reach).get(node.name)
    if api is None:
        raise Refusal(Code.NOT_FOUND, f"no agent has heard of {node.name}")
    return bool(reach.ask(api, node.identity, "/operator/slivers", DEADLINE).get("leaving"))


def held(reach: "Reach", nodes: Iterable["Enrolled"]) -> tuple[list[Held], dict[str, str]]:
    """What all these hold, and which do not say, with the reason."""
    apis, silent = _apis(reach), {}
    found: list[Held] = []

    def ask(name: str) -> Sequence[Held] | str:
        if name not in apis:
            return "no agent has heard of it"
        try:
            return _ask(reach, name, apis[name])
        except Refusal as refusal:
            return refusal.reason

    names = [node.name for node in nodes]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for name, answer in zip(names, pool.map(ask, names), strict=True):
            if isinstance(answer, str):
                silent[name] = answer
            else:
                found += answer
    return found, silent


def _apis(reach: "Reach") -> dict[str, str]:
    """Where nodes answer, by name, as the agents heard it last."""
    newest: dict[str, tuple[str, str]] = {}
    for entry in reach.plc.directory().agents:
        for ad in reach.agent(entry, "/nodes")["nodes"]:
            said = str(ad["heard_at"]), str(ad["api"])
            newest[ad["node"]] = max(newest.get(ad["node"], said), said)
    return {node: api for node, (_, api) in newest.items()}


def _ask(reach: "Reach", name: str, api: str) -> list[Held]:
    body = reach.ask(api, Identity(Role.NODE, name), "/operator/slivers", DEADLINE)
    return [Held.read(name, one) for one in body["slivers"]]
