"""newtickets: tickets for the nodes that a slice lacks, from one agent or several: all of them, or none.

docs/howto.md, "Creating a slice": the broker inside svm asks the agent, which either gives them all or an error.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace

from celery import shared_task

from agent.client import AgentClient, Tickets
from lifecycle.facts import SliceFacts
from lifecycle.outcome import Claim, Done, Granted
from lifecycle.slices import lacking
from plc.client import AgentEntry
from tasks.context import WorkerContext, delegation
from tasks.step import perform
from trust.errors import Code, Refusal
from trust.needs import Needs
from trust.sshkeys import new_ssh_key_pair


@shared_task(name="newtickets")
def newtickets(ids: list[int]) -> None:
    """These steps (docs/protocol.md, "POST /tickets")."""
    perform(ids, ask)


async def ask(claim: Claim, context: WorkerContext) -> Done:
    """Tickets for what the slice lacks, and its key pair if these are its first."""
    slice_ = slice_of(claim)
    lack = await context.transaction(lacking, slice_.id)
    if lack.missing <= 0:
        return Done(unchanged=True, reason=f"{slice_.name} has its {slice_.numnodes} nodes")
    try:
        return await take(claim, context, lack.missing, lack.taken, lack.granted)
    except Refusal as refusal:
        if refusal.code is not Code.TOO_FEW_NODES or not lack.going:
            raise
        end = f", until {lack.going_until:%Y-%m-%d %H:%M:%S} UTC at the latest" if lack.going_until else ""
        more = f" and {len(lack.going) - 3} more" if len(lack.going) > 3 else ""
        places = f"{', '.join(lack.going[:3])}{more} may still have an earlier sliver of {slice_.name}{end}"
        raise Refusal(refusal.code, f"{refusal.reason}; {places}", **refusal.detail) from refusal


async def take(claim: Claim, context: WorkerContext, missing: int, taken: list[str], granted_before: int) -> Done:
    """`missing` tickets on nodes that are not `taken`. Raises Refusal(TOO_FEW_NODES), and nothing is kept then.

    `granted_before`: tickets that the slice has had. With what is asked it says which request this is: one whose
    answer was lost for good, and that a later operation repeats, gets the same tickets.
    """
    slice_ = slice_of(claim)
    broker = _Broker(claim, context, slice_, await context.agents(slice_.agents), granted_before, slice_.needs)
    found = await broker.gather(missing, taken)
    granted = tuple(ticket for tickets in found for ticket in _granted(tickets))
    names = ", ".join(tickets.agent for tickets in found)
    public_key, sealed_key = _key_pair(slice_, context)
    return Done(
        tickets=granted,
        slice_id=found[0].slice_id,
        public_key=public_key,
        sealed_key=sealed_key,
        digest=found[0].digest,
        reason=f"{len(granted)} {'ticket' if len(granted) == 1 else 'tickets'} from {names}",
    )


def slice_of(claim: Claim) -> SliceFacts:
    """The step's slice. Raises Refusal(NOT_FOUND) when it is gone."""
    if claim.slice is None:
        raise Refusal(Code.NOT_FOUND, "the slice is gone")
    return claim.slice


@dataclass(frozen=True, slots=True)
class _Broker:
    """Asks the agents in their order; what the first cannot give, the next is asked for.

    `needs`: with the digest of the slice's image, once an agent has chosen it.
    """

    claim: Claim
    context: WorkerContext
    slice: SliceFacts
    agents: list[AgentEntry]
    granted_before: int
    needs: Needs

    async def gather(self, missing: int, taken: list[str]) -> list[Tickets]:
        found: list[Tickets] = []
        available = 0
        for entry in self.agents:
            client, last = self.context.agent(entry), entry is self.agents[-1]
            of_one = replace(self, needs=self.needs.of_digest(found[0].digest)) if found else self
            try:
                got, there = await of_one._from_one(client, entry.name, missing, taken, last=last)
            except Refusal:
                await self._return(found)
                raise
            available += there
            if got is not None:
                found.append(got)
                missing -= len(got.promises)
                taken = [*taken, *(promise.address for promise in got.promises)]
            if not missing:
                return found
        await self._return(found)
        reason = f"{available + missing} asked for" if not found else f"{missing} missing"
        with_it = f"{available} available" + (f" with {self.needs}" if self.needs else "")
        raise Refusal(
            Code.TOO_FEW_NODES,
            f"too few nodes: {reason}, {with_it}; ask for fewer, or later",
            available=available,
        )

    async def _from_one(
        self, client: AgentClient, name: str, missing: int, taken: list[str], *, last: bool
    ) -> tuple[Tickets | None, int]:
        """All from this agent, or as many as it has when others can give the rest."""
        try:
            return await self._tickets(client, name, missing, taken), missing
        except Refusal as refusal:
            some = refusal.detail.get("available")
            if refusal.code is not Code.TOO_FEW_NODES or (last and len(self.agents) == 1):
                raise
            if last or not isinstance(some, int) or not 0 < some < missing:
                return None, some if isinstance(some, int) else 0
        return await self._tickets(client, name, some, taken), some

    async def _tickets(self, client: AgentClient, name: str, count: int, taken: list[str]) -> Tickets:
        return await client.tickets(
            slice=self.slice.name,
            numnodes=count,
            leaselen=self.slice.leaselen,
            ips=self.slice.ips,
            exclude=taken,
            needs=self.needs,
            delegation=delegation(self.claim, self.slice),
            # Asked again after a lost answer, the agent gives the same tickets.
            idempotency_key=self._key(name, count, taken),
        )

    def _key(self, name: str, count: int, taken: list[str]) -> str:
        """The same for the same request, whichever operation makes it, until its tickets are recorded."""
        asked = [self.granted_before, name, count, self.slice.leaselen, self.slice.ips, taken]
        this = [self.claim.kind, self.claim.node, *asked, *([self.needs.to_json()] if self.needs else [])]
        return f"{self.slice.id}-{hashlib.sha256(json.dumps(this).encode()).hexdigest()[:32]}"

    async def _return(self, found: list[Tickets]) -> None:
        """Give back what alone is of no use; a ticket that cannot be given back runs out."""
        entries = {entry.name: entry for entry in self.agents}
        for tickets in found:
            for promise in tickets.promises:
                with suppress(Refusal):
                    client = self.context.agent(entries[tickets.agent])
                    await client.return_ticket(promise.jti, delegation(self.claim, self.slice))


def _granted(tickets: Tickets) -> list[Granted]:
    return [
        Granted(
            node=promise.address,
            node_name=promise.node,
            api=promise.api,
            agent=tickets.agent,
            frontdoor=(promise.frontdoor.address, promise.frontdoor.port, promise.frontdoor.host_key),
            jti=promise.jti,
            ticket=promise.token,
            expires_at=promise.expires_at,
        )
        for promise in tickets.promises
    ]


def _key_pair(slice_: SliceFacts, context: WorkerContext) -> tuple[str | None, bytes | None]:
    if slice_.public_key is not None:
        return None, None
    private_key, public_key = new_ssh_key_pair(slice_.name)
    return public_key, context.seal.seal(slice_.id, private_key)
