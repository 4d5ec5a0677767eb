"""The node manager itself: tickets to leases, leases to slivers, keys, renewal, deletion.

Every effect is idempotent by content, and on disk before it is answered. The driver acts for leases that are on disk
only. What takes rights away counts at once even if the disk takes nothing (`database.py`):

    leased ──create──▶ creating ──driver.create──▶ running ──ended by itself──▶ leased, with its sliver's folder
       ▲                  │                           ▲                            │
       └──────────────────┘                           └───────────create───────────┘
        refused, or found after a crash: what was half made is on the list of removals
    any ──delete, or lease end + grace──▶ forgotten, and on the list of removals until driver.delete is done

A deletion does not wait for a creation that is under way: it is written at once, and who creates finds out.
What happens without a call is in `expiry.py` (expiry, recovery, removals) and `liveness.py` (slivers that ended); what
slivers are told to do (stop, start) in `power.py`.
"""

import asyncio
import errno
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from uuid import UUID
from weakref import WeakValueDictionary

from nodemgr.access import Access, SessionCloser
from nodemgr.admission import Capacity, lease_end, next_generation
from nodemgr.beside import Beside, deadline
from nodemgr.caller import Caller
from nodemgr.granting import grant, same_lease, signed, too_many
from nodemgr.happenings import Happenings
from nodemgr.images import Images
from nodemgr.orders import Wanted
from nodemgr.slicekey import SlicePair
from nodemgr.slivers.drivers.driver import Driver, SliverSpec
from nodemgr.specs import spec_of
from nodemgr.storage.disk import Disk
from nodemgr.storage.store import Burnt, LeaseRow, Store
from rpc.credentials import Credentials
from trust.authorize import Action
from trust.documents import SKEW, TICKET_LIFETIME, verify_ticket
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.sshkeys import PublicKey, parse_public_key
from trust.store import TrustStore

MAX_KEYS = 1_000
LONGEST_USE = timedelta(seconds=TICKET_LIFETIME + SKEW)  # of a ticket, from now on at most
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def _nothing() -> None:
    """Nobody wants to know of changes."""


@dataclass(slots=True)
class Node:
    """One node.

    Args:
        credentials: its key and certificate, read again at each signature, so that a renewal is seen.
        trust: whom it trusts, and its clock.
        agents: whose tickets it takes.
        grace: seconds that a sliver outlives its lease.
        changed: called after every change that others should hear of (it advertises then).
        populated: called after a sliver was made: somebody is about to log in and go on to other nodes.
        sessions: the front door; None on a simulated node.
        full: takes no new ticket (fault injection), whatever its capacity.
        disk: what its slivers fill; None where they cannot.
        images: what they may begin as.
        peers: front doors of all advertised nodes, kept by `neighbours.py`.
        stopped: owners whose slivers plc has stopped (`stops.py`).
        orders: what plc's operator wants of it (`orders.py`).
        happenings: in its slivers, for their owners.
        halted: slivers, by slice_id, that may have been stopped for that; True for those that are for certain.
    """

    identity: Identity
    credentials: Credentials
    trust: TrustStore
    store: Store
    driver: Driver
    capacity: Capacity
    agents: Collection[Identity]
    grace: int
    changed: Callable[[], None] = _nothing
    populated: Callable[[], None] = _nothing
    sessions: SessionCloser | None = None
    full: bool = False
    disk: Disk | None = None
    images: Images = field(default_factory=Images)
    peers: frozenset[tuple[str, int]] = frozenset()
    stopped: frozenset[Identity] = frozenset()
    orders: Wanted = field(default_factory=Wanted)
    halted: dict[UUID, bool] = field(default_factory=dict)
    happenings: Happenings = field(default_factory=Happenings)
    beside: Beside = field(default_factory=Beside)
    closing: Executor = field(default_factory=lambda: ThreadPoolExecutor(2, "close-sessions"))
    _busy: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def now(self) -> datetime:
        return self.trust.clock.now()

    @property
    def disk_full(self) -> bool:
        """Takes no new sliver, for want of room on the disk."""
        return self.store.owed > 0 or (self.disk is not None and self.disk.full)

    def redeem(self, caller: Caller, token: str) -> LeaseRow:
        """Ticket to lease (howto, newleases). The same holder asking again gets the same lease."""
        ticket = verify_ticket(token, store=self.trust, audience=self.identity)
        caller.require(ticket.owner, ticket.slice, Action.CREATE)
        with self.store.transaction():
            held = self.store.lease(ticket.slice)
            if self.store.burnt(ticket.jti, ticket.owner) is not None:
                lease = same_lease(ticket, held)
                self.require_lease(lease)
                return lease
            lease = grant(self, ticket, caller, held)
            # Last, in the transaction that writes the lease: a ticket that was refused is good for another try.
            burnt = Burnt(ticket.jti, ticket.owner, ticket.issuer, ticket.slice_id, ticket.expires_at)
            if not self.store.may_burn(burnt, self.now()):
                raise too_many(ticket.owner)
            self.store.burn(burnt)
            self.store.put(lease)
        self.changed()
        return lease

    async def create(
        self, caller: Caller, slice: str, token: str, private_key: str, public_key: str, pair_generation: int = 0
    ) -> LeaseRow:
        """Lease to sliver (howto, newvms). One that is there under this lease is returned, with this key pair."""
        async with self.lock(slice):
            self.own(caller, slice, None, Action.CREATE)
            await self.finish_removal(slice)
            # Again, for whatever was written while that took its time; from here on nothing waits before it writes.
            lease = self.own(caller, slice, None, Action.CREATE)
            if not hmac.compare_digest(_sha256(lease.token), _sha256(token)):
                raise Refusal(
                    Code.STALE_GENERATION,
                    f"that is not the lease of slice {slice} on this node, which has generation {lease.generation}",
                    generation=lease.generation,
                )
            self.require_lease(lease)
            if lease.owner in self.stopped:
                raise Refusal(Code.NOT_ALLOWED, f"{lease.owner.name} is stopped by plc; ask its operator")
            given = SlicePair(pair_generation, private_key, public_key)
            given.refuse_older(lease.pair_generation, slice)
            spec = spec_of(self, lease, given)
            lease = replace(lease, pair_generation=given.generation)
            created = await (self._keep(lease, spec) if lease.has_sliver else self._make(lease, spec))
        self.changed()
        self.populated()
        return created

    async def set_pair(self, caller: Caller, slice: str, slice_id: UUID, given: SlicePair) -> int:
        """Another key pair for a running sliver (`svm rekey`); ends the sessions of the one before. Its generation."""
        async with self.lock(slice):
            lease = self.own(caller, slice, slice_id, Action.CREATE)
            self.require_lease(lease)
            if lease.state != "running":
                raise Refusal(Code.NOT_FOUND, f"slice {slice} has no VM on this node; svm newvms makes it")
            given.refuse_older(lease.pair_generation, slice)
            kept = await self._keep(replace(lease, pair_generation=given.generation), spec_of(self, lease, given))
        return kept.pair_generation

    def renew(
        self, caller: Caller, slice: str, slice_id: UUID, from_generation: int, leaselen: int | None = None
    ) -> LeaseRow:
        """A lease to now + leaselen (howto, renewslice); the one there is when it was renewed from there already."""
        with self.store.transaction():
            lease = self.own(caller, slice, slice_id, Action.RENEW)
            self.require_lease(lease)
            generation = next_generation(lease.generation, from_generation)
            if generation is None:
                return lease
            self.orders.require_renewals(self.now())
            lease = replace(lease, leaselen=leaselen or lease.leaselen)
            end = lease_end(self.now(), lease.leaselen, self.capacity.longest, lease.expires_at)
            lease = signed(self, replace(lease, generation=generation, expires_at=end, via=caller.svm or lease.via))
            self.store.put(lease)
        return lease

    async def set_access(self, caller: Caller, slice: str, slice_id: UUID, generation: int, keys: Sequence[str]) -> int:
        """Replace the whole key set (addkey, delkey, nukekeys); ends the sessions of keys that are gone."""
        wanted, present = _key_set(keys), _key_set(self._found(slice).keys)
        # Taking keys away must work whatever the revocation list's age; what adds one must not.
        action = Action.ACCESS if wanted.keys() - present.keys() else Action.REMOVE_KEYS
        self.trust.require_fresh(action)
        lease = self.own(caller, slice, slice_id, action)
        if generation < lease.key_generation or (generation == lease.key_generation and wanted != present):
            raise Refusal(
                Code.STALE_GENERATION,
                f"the keys of slice {slice} are at generation {lease.key_generation}; run the command again",
                generation=lease.key_generation,
            )
        try:
            self._put_keys(replace(lease, via=caller.svm or lease.via), generation, wanted)
        finally:
            gone = [key.fingerprint for blob, key in present.items() if blob not in wanted]
            if gone:
                await self.close_sessions(slice, gone)
        return generation

    def _put_keys(self, lease: LeaseRow, generation: int, wanted: Mapping[bytes, PublicKey]) -> None:
        """Those that are taken away go even if the disk takes nothing; then what is added has to come again."""
        kept = [line for line in lease.keys if parse_public_key(line).blob in wanted]
        lines = [key.line for key in wanted.values()]
        try:
            with self.store.transaction(ahead=lease.slice if len(kept) == len(lines) else None):
                self.store.put(replace(lease, key_generation=generation, keys=tuple(lines)))
        except Refusal:
            with self.store.transaction(ahead=lease.slice):
                self.store.put(replace(lease, keys=tuple(kept)))
            raise

    async def delete(self, caller: Caller, slice: str, slice_id: UUID, jti: str | None) -> None:
        """Burn the ticket, forget the lease, remove the sliver. Idempotent, also for a ticket that never came here: it
        may be on its way. Who gives up too many of those has the rest done all the same, and Refusal(BUSY)."""
        caller.require(caller.owner, slice, Action.DELETE)
        held = self.store.lease(slice)
        with self.store.transaction(ahead=slice if held and held.slice_id == slice_id else ""):
            lease = held
            if lease is not None and lease.slice_id == slice_id:
                caller.require(lease.owner, slice, Action.DELETE)
            else:
                lease = None  # the name is free, or somebody else's by now
            if jti is not None and self._supersedes(lease, jti, caller.owner):
                lease = None
            burnt = Burnt(jti or "", caller.owner, None, slice_id, self.now() + LONGEST_USE)
            remembered = jti is None or self.store.may_burn(burnt, self.now())
            if jti is not None and remembered:
                self.store.burn(burnt)
            if lease is not None:
                self.store.forget(lease, self.now())
        if lease is not None:
            await self.close_sessions(slice, None)
            self.changed()
        await self.remove(slice)
        if not remembered:
            raise too_many(caller.owner)

    def get(self, caller: Caller, slice: str) -> LeaseRow:
        """What is held under that name, for its owner or the service manager through which it was made."""
        lease = self._found(slice)
        if lease.via is None or lease.via != caller.identity:
            caller.require(lease.owner, slice, Action.READ)
        return lease

    def inventory(self, caller: Caller) -> list[LeaseRow]:
        """All that is the caller's own, or was made through the service manager that asks."""
        return [lease for lease in self.store.leases() if caller.identity in (lease.owner, lease.via)]

    def lookup(self, slice: str) -> Access | None:
        """Implements `nodemgr.access.AccessTable`, for the front door's threads."""
        lease = self.store.lease(slice)
        if lease is None or not lease.has_sliver or lease.slice_key is None:
            return None
        if lease.expires_at <= self.now() or lease.owner in self.stopped or self.store.owners_unknown:
            return None
        return Access(
            slice=slice,
            slice_id=lease.slice_id,
            keys=_parsed(lease.keys),
            slice_key=_parsed((lease.slice_key,))[0],
            expires_at=lease.expires_at,
            peers=self.peers,
            stopped="" if lease.state == "running" else self.store.power(lease.slice_id).why(slice),
        )

    async def with_room(self, work: Callable[[], Awaitable[None]]) -> None:
        """A driver's call; once more, with the room that is kept for such a time, when the disk is full."""
        try:
            await work()
        except OSError as error:
            if error.errno not in NO_ROOM or not self.store.make_room():
                raise
            await work()

    def lock(self, slice: str) -> asyncio.Lock:
        """One at a time asks the driver to do something about a slice."""
        return self._busy.setdefault(slice, asyncio.Lock())

    async def close_sessions(self, slice: str, keys: Collection[str] | None) -> None:
        """Have the front door end the sessions that came in with these keys (fingerprints); None: all of them."""
        if self.sessions is not None:
            # In threads of its own: whatever else is stuck, nobody stays inside for that.
            close = partial(self.sessions.close_sessions, slice, keys=keys)
            await asyncio.get_running_loop().run_in_executor(self.closing, close)

    async def remove(self, slice: str) -> None:
        """Remove what is on the list of removals under that name, if anything."""
        async with self.lock(slice):
            await self.finish_removal(slice)

    async def finish_removal(self, slice: str) -> None:
        """The same, for who holds the slice's lock. Refusal when the driver cannot: it stays on the list then."""
        if all(name != slice for name, _ in self.store.removals()):
            return
        async with deadline(f"removing the sliver of {slice}"):
            await self.driver.delete(slice)
        self.store.removed(slice)
        self.changed()

    async def _make(self, lease: LeaseRow, spec: SliverSpec) -> LeaseRow:
        """leased (without a sliver) or creating → running."""
        # The lease is on disk: after a crash whatever may be there of its sliver is removed (`expiry.recover`).
        self.store.note(replace(lease, state="creating", slice_key=spec.public_key))
        try:
            async with deadline(f"making the sliver of {lease.slice}"):
                await self.with_room(lambda: self.driver.create(spec))
            running = await self.store.together(partial(self._made, lease, "running"))
        except Exception:
            self._made(lease, "leased")
            self.changed()
            raise
        if running is None:
            raise Refusal(Code.NOT_FOUND, f"slice {lease.slice} was deleted while its sliver was made")
        return running

    def _made(self, lease: LeaseRow, state: str) -> LeaseRow | None:
        """Write down how a creation ended; None when the lease is gone meanwhile (its removal is on the list)."""
        with self.store.transaction(ahead="" if state == "leased" else None):
            current = self.store.lease(lease.slice)
            if current is None or current.state != "creating":
                return None  # one of another slice could not be: its making waits for the lock
            if state == "leased":
                self.store.add_removal(lease.slice, lease.slice_id, current.needs)
                current = replace(current, slice_key=None)
            current = replace(current, state=state)
            self.store.put(current)
        return current

    async def _keep(self, lease: LeaseRow, spec: SliverSpec) -> LeaseRow:
        """running, or leased with one that ended, → running: the sliver that is there, with the key pair given now."""
        async with deadline(f"starting the sliver of {lease.slice}"):
            await self.with_room(lambda: self.driver.create(spec))
            if lease.slice_key != spec.public_key:
                await self.driver.set_slice_key(lease.slice, private_key=spec.private_key, public_key=spec.public_key)
        with self.store.transaction():
            current = self.store.lease(lease.slice)
            if current is None or current.slice_id != lease.slice_id:
                raise Refusal(Code.NOT_FOUND, f"slice {lease.slice} was deleted meanwhile")
            current = replace(current, slice_key=spec.public_key, pair_generation=lease.pair_generation)
            current = replace(current, state="running")
            self.store.put(current)
        if lease.slice_key is not None and lease.slice_key != spec.public_key:
            await self.close_sessions(lease.slice, [parse_public_key(lease.slice_key).fingerprint])
        return current

    def _found(self, slice: str) -> LeaseRow:
        lease = self.store.lease(slice)
        if lease is None:
            raise Refusal(Code.NOT_FOUND, f"there is no slice {slice[:40]!a} on this node; get a new ticket for it")
        return lease

    def own(self, caller: Caller, slice: str, slice_id: UUID | None, action: Action) -> LeaseRow:
        """The lease of that name, if the caller may do this to it and means this very slice."""
        lease = self._found(slice)
        caller.require(lease.owner, slice, action)
        if slice_id is not None and lease.slice_id != slice_id:
            raise Refusal(Code.NOT_FOUND, f"slice {slice} on this node is another one of that name; get a new ticket")
        return lease

    def require_lease(self, lease: LeaseRow) -> None:
        if lease.expires_at <= self.now():
            raise Refusal(
                Code.TICKET_EXPIRED,
                f"the lease of slice {lease.slice} ended at {lease.expires_at:%Y-%m-%d %H:%M:%S} UTC; get a new ticket",
            )

    def _supersedes(self, lease: LeaseRow | None, jti: str, owner: Identity) -> bool:
        """Whether the lease came from a later ticket than `jti`: that one was burnt here, and is not the lease's.

        Then a late or repeated deletion is about a sliver that is gone; the one there now is not meant.
        """
        return lease is not None and lease.jti != jti and self.store.burnt(jti, owner) is not None


def _key_set(lines: Sequence[str]) -> dict[bytes, PublicKey]:
    if len(lines) > MAX_KEYS:
        raise Refusal(Code.BAD_INPUT, f"a slice has at most {MAX_KEYS} keys; remove some first")
    return {key.blob: key for key in _parsed(tuple(lines))}


@lru_cache(maxsize=256)
def _parsed(lines: tuple[str, ...]) -> tuple[PublicKey, ...]:
    """Kept, for strangers at the front door have keys looked up as often as they like: 999 keys cost 18 ms to read."""
    return tuple(parse_public_key(line) for line in lines)


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
