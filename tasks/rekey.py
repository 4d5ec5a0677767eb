"""rekey: a slice gets another key pair (docs/slivers.md, "The slice's own key pair")."""

from celery import shared_task

from lifecycle.facts import SliceFacts
from lifecycle.generations import Counted
from lifecycle.keypair import Pair, wanted_pair
from lifecycle.outcome import Claim, Done
from models.states import SliverState
from tasks.context import WorkerContext, delegation, ended, facts
from tasks.newest import push_newest
from tasks.step import perform
from trust.errors import Code, Refusal
from trust.sshkeys import new_ssh_key_pair


@shared_task(name="rekey")
def rekey(ids: list[int]) -> None:
    """These steps."""
    perform(ids, install)


async def install(claim: Claim, context: WorkerContext) -> Done:
    """The pair as it is wanted now, not as it was when the step was made; the node refuses one older than it has."""
    _, sliver = facts(claim)
    if sliver.state is not SliverState.RUNNING or sliver.expired:
        raise ended(sliver)
    return Done(pair_generation=await give_pair(claim, context))


async def give_pair(claim: Claim, context: WorkerContext) -> int:
    """To a VM that runs; the generation that it has then."""
    slice_, sliver = facts(claim)
    if slice_.slice_id is None:
        raise Refusal(Code.INTERNAL, "the slice has no registration")
    name, slice_id = slice_.name, slice_.slice_id
    node, token = context.node(claim, sliver), delegation(claim, slice_)

    async def send(pair: Pair) -> int:
        private_key = context.seal.open(slice_.id, pair.sealed_key)
        return await node.set_pair(name, slice_id, pair.generation, private_key, pair.public_key, token)

    pair, _ = await push_newest(context, slice_.id, Counted.PAIR, lambda: newest_pair(slice_, context), send)
    return pair.generation


async def newest_pair(slice_: SliceFacts, context: WorkerContext) -> Pair:
    """The wanted pair of a slice; whoever asks first makes it."""

    def fresh() -> tuple[str, bytes]:
        private_key, public_key = new_ssh_key_pair(slice_.name)
        return public_key, context.seal.seal(slice_.id, private_key)

    pair = await context.transaction(wanted_pair, slice_.id, fresh)
    if pair is None:
        raise Refusal(Code.NOT_FOUND, f"slice {slice_.name} is gone")
    return pair
