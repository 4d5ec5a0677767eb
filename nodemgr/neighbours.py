"""The nodes, as agents know them: hosts, known_hosts and ssh_config for every sliver, and whom forwarding may reach.

docs/slivers.md, "The front door": host keys are pinned without pushing lists to slivers.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from agent.client import Ad, AgentClient
from nodemgr.node import Node
from nodemgr.slivers.inside.etc import LOCALHOST
from rpc.background import surviving, within
from trust.errors import Refusal
from trust.identity import Identity
from trust.sshkeys import parse_public_key

SSH_PORT = 22

log = logging.getLogger(__name__)

_EVERY_HOST = """\
# Every node of the testbed, by address and by name; written by the node manager.
Host *
    StrictHostKeyChecking yes
    GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
    UpdateHostKeys no
"""


def known_hosts(ads: Iterable[Ad]) -> str:
    """One line a front door (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return "".join(f"{_where(ad)} {ad.frontdoor.host_key}\n" for ad in _reachable(ads))


def ssh_config(ads: Iterable[Ad]) -> str:
    """So that `ssh ADDRESS` and `ssh NAME` reach the front door there (ssh_config(5))."""
    blocks = [
        f"Host {ad.frontdoor.address} {ad.node}\n    HostName {ad.frontdoor.address}\n    Port {ad.frontdoor.port}\n"
        for ad in _reachable(ads)
    ]
    return "".join([*blocks, _EVERY_HOST])


def hosts(ads: Iterable[Ad], own: str) -> str:
    """Every node's address and name, this one's first (hosts(5))."""
    nodes = sorted(_reachable(ads), key=lambda ad: ad.node != own)
    return LOCALHOST + "".join(f"{ad.frontdoor.address}\t{ad.node}\n" for ad in nodes)


def front_doors(ads: Iterable[Ad]) -> frozenset[tuple[str, int]]:
    """(address, port) of each."""
    return frozenset((ad.frontdoor.address, ad.frontdoor.port) for ad in _reachable(ads))


@dataclass(slots=True)
class Neighbours:
    """Keeps a node's files about the others; an agent that does not answer leaves what it said last.

    Args:
        seconds: between two questions; unchanged lists cost one empty answer (ETag).
    """

    node: Node
    agents: Mapping[Identity, AgentClient]
    seconds: float = 60
    _tags: dict[Identity, str] = field(default_factory=dict)
    _lists: dict[Identity, Sequence[Ad]] = field(default_factory=dict)
    _written: tuple[str, str, str] | None = None
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def wanted(self) -> None:
        """Ask soon; from the loop's own thread."""
        self._wanted.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wanted.clear()
            with surviving("%s cannot learn of its neighbours; trying again", self.node.identity.name):
                await self.ask()
            await within(self.seconds, self._wanted)

    async def ask(self) -> None:
        """Once."""
        await asyncio.gather(*(self._ask(agent, client) for agent, client in self.agents.items()))
        if not self._lists:
            return  # what an earlier run wrote is better than nothing
        ads = {ad.node: ad for found in self._lists.values() for ad in found}.values()
        files = known_hosts(ads), ssh_config(ads), hosts(ads, self.node.identity.name)
        self.node.peers = front_doors(ads)
        if files != self._written:
            await asyncio.to_thread(self.node.driver.write_host_files, *files)
            self._written = files

    async def _ask(self, agent: Identity, client: AgentClient) -> None:
        try:
            found = await client.ads(self._tags.get(agent))
        except Refusal as refusal:
            log.warning("%s cannot ask %s for ads: %s", self.node.identity.name, agent.name, refusal.reason)
            return
        if found is not None:
            self._tags[agent], self._lists[agent] = found.etag, found.ads


def _reachable(ads: Iterable[Ad]) -> list[Ad]:
    """Those with something to log in to, in one order, so that equal lists are equal files."""
    return sorted((ad for ad in ads if not ad.simulated and _sound(ad)), key=lambda ad: ad.node)


def _sound(ad: Ad) -> bool:
    """Whether address, name and host key are what they should be: an agent's words go into files that ssh trusts."""
    try:
        known = ad.identity == Identity.parse(ad.identity.uri) and ip_address(ad.frontdoor.address)
        return bool(known) and parse_public_key(ad.frontdoor.host_key).line == ad.frontdoor.host_key
    except (Refusal, ValueError):
        return False


def _where(ad: Ad) -> str:
    door = ad.frontdoor
    return door.address if door.port == SSH_PORT else f"[{door.address}]:{door.port}"
