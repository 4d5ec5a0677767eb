"""What addkey, delkey and nukekeys do on a node: push the slice's whole key set, with its generation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from celery import shared_task

from lifecycle.generations import Counted
from lifecycle.keys import KeySet, wanted_keys
from lifecycle.outcome import Claim, Done
from models.states import WITH_VM, Kind
from nodemgr.client import NodeClient
from tasks.context import WorkerContext, delegation, ended, facts
from tasks.newest import push_newest
from tasks.step import act_of, perform
from trust.errors import Code, Refusal


def key_task(name: str) -> Callable[[list[int]], None]:
    """The task of this name: these steps."""

    @shared_task(name=name)
    def push(ids: list[int]) -> None:
        perform(ids, push_keys)

    return push


@act_of(Kind.ADDKEY)
async def push_keys(claim: Claim, context: WorkerContext) -> Done:
    """The set as it is wanted now, not as it was when the step was made: the newest is what every node shall have."""
    slice_, sliver = facts(claim)
    if sliver.state not in WITH_VM or sliver.expired:
        raise ended(sliver)
    if slice_.slice_id is None:
        raise Refusal(Code.INTERNAL, "the slice has no registration")
    place = SliceAtNode(slice_.id, slice_.name, slice_.slice_id, delegation(claim, slice_))
    return Done(key_generation=await set_keys(context, context.node(claim, sliver), place))


@dataclass(frozen=True, slots=True)
class SliceAtNode:
    """A slice as it is called at its nodes, and the permission to show there."""

    row: UUID
    name: str
    slice_id: UUID
    delegation: str | None = field(repr=False)


async def set_keys(context: WorkerContext, node: NodeClient, place: SliceAtNode) -> int:
    """Make the wanted key set the node's; the generation that it has there."""

    async def read() -> KeySet:
        return await context.transaction(wanted_keys, place.row)

    async def send(keys: KeySet) -> int:
        return await node.set_access(place.name, place.slice_id, keys.generation, keys.lines, place.delegation)

    keys, _ = await push_newest(context, place.row, Counted.KEYS, read, send)
    return keys.generation
