"""The node manager itself: tickets to leases, leases to slivers, keys, renewal, deletion.

Every effect is idempotent by content, and every change is written down before the driver acts on it:

    leased ──create──▶ creating ──driver.create──▶ running
       ▲                  │ refused, or found after a crash: what was half made is on the list of removals
       └──────────────────┘
    any ──delete, or lease end + grace──▶ forgotten, and on the list of removals until driver.delete is done

A deletion does not wait for a creation that is under way: it is written at once, and who creates finds out.
What happens without a call (expiry, recovery, removals) is in `expiry.py`.
"""

import asyncio
import functools
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from nodemgr.access import Access, SessionCloser
from nodemgr.admission import Capacity, Held, admit, lease_end, next_generation
from nodemgr.caller import Caller
from nodemgr.slicekey import SlicePair, check_pair
from nodemgr.slivers.driver import Driver, SliverSpec
from nodemgr.store import Burnt, LeaseRow, Store
from rpc.credentials import Credentials
from trust.authorize import Action
from trust.documents import SKEW, TICKET_LIFETIME, Lease, Ticket, sign_lease, verify_ticket
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.sshkeys import PublicKey, parse_public_key
from trust.store import TrustStore

MAX_KEYS = 1_000
DRIVER_SECONDS = 40  # a whole call ends within 45 s (STACK.md)


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
        peers: front doors of all advertised nodes, kept by `neighbours.py`.
        stopped: owners whose slivers plc has stopped, kept by `stops.py`.
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
    peers: frozenset[tuple[str, int]] = frozenset()
    stopped: frozenset[Identity] = frozenset()
    _busy: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def now(self) -> datetime:
        return self.trust.clock.now()

    def redeem(self, caller: Caller, token: str) -> LeaseRow:
        """Ticket to lease (howto, newleases). The same holder asking again gets the same lease."""
        ticket = verify_ticket(token, store=self.trust, audience=self.identity)
        caller.require(ticket.owner, ticket.slice, Action.CREATE)
        with self.store.transaction():
            held = self.store.lease(ticket.slice)
            if self.store.burnt(ticket.jti, ticket.owner) is not None:
                lease = _same_lease(ticket, held)
                self._require_running(lease)
                return lease
            lease = self._grant(ticket, caller, held)
            # Last, in the transaction that writes the lease: a ticket that was refused is good for another try.
            self.store.burn(Burnt(ticket.jti, ticket.owner, ticket.issuer, ticket.slice_id, ticket.expires_at))
            self.store.put(lease)
        self.changed()
        return lease

    async def create(
        self, caller: Caller, slice: str, token: str, private_key: str, public_key: str, pair_generation: int = 0
    ) -> LeaseRow:
        """Lease to sliver (howto, newvms). One that is there under this lease is returned, with this key pair."""
        async with self.lock(slice):
            self._own(caller, slice, None, Action.CREATE)
            await self.finish_removal(slice)
            # Again, for whatever was written while that took its time; from here on nothing waits before it writes.
            lease = self._own(caller, slice, None, Action.CREATE)
            if not hmac.compare_digest(_sha256(lease.token), _sha256(token)):
                raise Refusal(
                    Code.STALE_GENERATION,
                    f"that is not the lease of slice {slice} on this node, which has generation {lease.generation}",
                    generation=lease.generation,
                )
            self._require_running(lease)
            given = SlicePair(pair_generation, private_key, public_key)
            given.refuse_older(lease.pair_generation, slice)
            spec = self._spec(lease, given)
            lease = replace(lease, pair_generation=given.generation)
            created = await (self._keep(lease, spec) if lease.state == "running" else self._make(lease, spec))
        self.changed()
        self.populated()
        return created

    async def set_pair(self, caller: Caller, slice: str, slice_id: UUID, given: SlicePair) -> int:
        """Another key pair for a running sliver (`svm rekey`); ends the sessions of the one before. Its generation."""
        async with self.lock(slice):
            lease = self._own(caller, slice, slice_id, Action.CREATE)
            self._require_running(lease)
            if lease.state != "running":
                raise Refusal(Code.NOT_FOUND, f"slice {slice} has no VM on this node; svm newvms makes it")
            given.refuse_older(lease.pair_generation, slice)
            kept = await self._keep(replace(lease, pair_generation=given.generation), self._spec(lease, given))
        return kept.pair_generation

    def renew(self, caller: Caller, slice: str, slice_id: UUID, from_generation: int) -> LeaseRow:
        """A lease to now + leaselen (howto, renewslice); the one there is when it was renewed from there already."""
        with self.store.transaction():
            lease = self._own(caller, slice, slice_id, Action.RENEW)
            self._require_running(lease)
            generation = next_generation(lease.generation, from_generation)
            if generation is None:
                return lease
            end = lease_end(self.now(), lease.leaselen, self.capacity.longest, lease.expires_at)
            lease = self._signed(replace(lease, generation=generation, expires_at=end, via=caller.svm or lease.via))
            self.store.put(lease)
        return lease

    async def set_access(self, caller: Caller, slice: str, slice_id: UUID, generation: int, keys: Sequence[str]) -> int:
        """Replace the whole key set (addkey, delkey, nukekeys); ends the sessions of keys that are gone."""
        wanted = _key_set(keys)
        with self.store.transaction():
            lease = self._found(slice)
            present = _key_set(lease.keys)
            added = wanted.keys() - present.keys()
            # Taking keys away must work whatever the revocation list's age; what adds one must not.
            action = Action.ACCESS if added else Action.REMOVE_KEYS
            self.trust.require_fresh(action)
            lease = self._own(caller, slice, slice_id, action)
            if generation < lease.key_generation or (generation == lease.key_generation and wanted != present):
                raise Refusal(
                    Code.STALE_GENERATION,
                    f"the keys of slice {slice} are at generation {lease.key_generation}; run the command again",
                    generation=lease.key_generation,
                )
            lines = tuple(key.line for key in wanted.values())
            self.store.put(replace(lease, key_generation=generation, keys=lines, via=caller.svm or lease.via))
        gone = [key.fingerprint for blob, key in present.items() if blob not in wanted]
        if gone:
            await self.close_sessions(slice, gone)
        return generation

    async def delete(self, caller: Caller, slice: str, slice_id: UUID, jti: str | None) -> None:
        """Burn the ticket, forget the lease, remove the sliver. Idempotent, also for a ticket that never came here."""
        caller.require(caller.owner, slice, Action.DELETE)
        with self.store.transaction():
            lease = self.store.lease(slice)
            if lease is not None and lease.slice_id == slice_id:
                caller.require(lease.owner, slice, Action.DELETE)
            else:
                lease = None  # the name is free, or somebody else's by now
            if jti is not None and self._supersedes(lease, jti, caller.owner):
                lease = None
            if jti is not None:
                end = self.now() + timedelta(seconds=TICKET_LIFETIME + SKEW)
                self.store.burn(Burnt(jti, caller.owner, None, slice_id, end))
            if lease is not None:
                self.store.forget(lease, self.now())
        if lease is not None:
            await self.close_sessions(slice, None)
            self.changed()
        await self.remove(slice)

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
        if lease is None or lease.state != "running" or lease.slice_key is None:
            return None
        if lease.expires_at <= self.now() or lease.owner in self.stopped:
            return None
        return Access(
            slice=slice,
            slice_id=lease.slice_id,
            keys=_parsed(lease.keys),
            slice_key=_parsed((lease.slice_key,))[0],
            expires_at=lease.expires_at,
            peers=self.peers,
        )

    def lock(self, slice: str) -> asyncio.Lock:
        """One at a time asks the driver to do something about a slice."""
        return self._busy.setdefault(slice, asyncio.Lock())

    async def close_sessions(self, slice: str, keys: Collection[str] | None) -> None:
        """Have the front door end the sessions that came in with these keys (fingerprints); None: all of them."""
        if self.sessions is not None:
            await asyncio.to_thread(self.sessions.close_sessions, slice, keys=keys)

    async def remove(self, slice: str) -> None:
        """Remove what is on the list of removals under that name, if anything."""
        async with self.lock(slice):
            await self.finish_removal(slice)

    async def finish_removal(self, slice: str) -> None:
        """The same, for who holds the slice's lock. Refusal when the driver cannot: it stays on the list then."""
        if all(name != slice for name, _ in self.store.removals()):
            return
        async with _deadline(f"removing the sliver of {slice}"):
            await self.driver.delete(slice)
        self.store.removed(slice)
        self.changed()

    def _grant(self, ticket: Ticket, caller: Caller, held: LeaseRow | None) -> LeaseRow:
        """The lease that a ticket earns: a first one, or another for a slice that is here already."""
        capacity = replace(self.capacity, slots=0) if self.full else self.capacity
        holder = Held(held.slice_id, held.owner) if held else None
        admit(ticket, agents=self.agents, held=holder, taken=self.store.taken(), capacity=capacity)
        before = held.generation if held else self.store.past_generation(ticket.slice_id)
        return self._signed(
            LeaseRow(
                slice=ticket.slice,
                slice_id=ticket.slice_id,
                owner=ticket.owner,
                via=caller.svm,
                jti=ticket.jti,
                leaselen=ticket.leaselen,
                generation=before + 1,
                token="",
                expires_at=lease_end(self.now(), ticket.leaselen, capacity.longest, held.expires_at if held else None),
                state=held.state if held else "leased",
                slice_key=held.slice_key if held else None,
                key_generation=held.key_generation if held else 0,
                keys=held.keys if held else (),
                pair_generation=held.pair_generation if held else 0,
            )
        )

    def _signed(self, lease: LeaseRow) -> LeaseRow:
        document = Lease(
            issuer=self.identity,
            owner=lease.owner,
            slice=lease.slice,
            slice_id=lease.slice_id,
            generation=lease.generation,
            jti=str(uuid4()),
            issued_at=self.now().replace(microsecond=0),
            expires_at=lease.expires_at,
        )
        return replace(lease, token=sign_lease(document, self.credentials.key, self.credentials.certificate))

    async def _make(self, lease: LeaseRow, spec: SliverSpec) -> LeaseRow:
        """leased or creating → running."""
        self.store.put(replace(lease, state="creating", slice_key=spec.public_key))
        try:
            async with _deadline(f"making the sliver of {lease.slice}"):
                await self.driver.create(spec)
        except Exception:
            self._made(lease, "leased")
            raise
        running = self._made(lease, "running")
        if running is None:
            raise Refusal(Code.NOT_FOUND, f"slice {lease.slice} was deleted while its sliver was made")
        return running

    def _made(self, lease: LeaseRow, state: str) -> LeaseRow | None:
        """Write down how a creation ended; None when the lease is gone meanwhile (its removal is on the list)."""
        with self.store.transaction():
            current = self.store.lease(lease.slice)
            if current is None or current.state != "creating":
                return None  # one of another slice could not be: its making waits for the lock
            if state == "leased":
                self.store.add_removal(lease.slice, lease.slice_id)
            current = replace(current, state=state)
            self.store.put(current)
        return current

    async def _keep(self, lease: LeaseRow, spec: SliverSpec) -> LeaseRow:
        """running → running: the sliver that is there (started again if it was not), with the key pair given now."""
        async with _deadline(f"starting the sliver of {lease.slice}"):
            await self.driver.create(spec)
            if lease.slice_key != spec.public_key:
                await self.driver.set_slice_key(lease.slice, private_key=spec.private_key, public_key=spec.public_key)
        with self.store.transaction():
            current = self.store.lease(lease.slice)
            if current is None or current.slice_id != lease.slice_id:
                raise Refusal(Code.NOT_FOUND, f"slice {lease.slice} was deleted meanwhile")
            current = replace(current, slice_key=spec.public_key, pair_generation=lease.pair_generation)
            self.store.put(current)
        if lease.slice_key is not None and lease.slice_key != spec.public_key:
            await self.close_sessions(lease.slice, [parse_public_key(lease.slice_key).fingerprint])
        return current

    def _spec(self, lease: LeaseRow, given: SlicePair) -> SliverSpec:
        public_key = check_pair(given.private_key, given.public_key)
        return SliverSpec(
            slice=lease.slice,
            slice_id=lease.slice_id,
            hostname=self.identity.name,
            memory_mb=self.capacity.sliver_mb,
            processes=self.capacity.processes,
            host_uid=None,
            private_key=given.private_key,
            public_key=public_key.line,
        )

    def _found(self, slice: str) -> LeaseRow:
        lease = self.store.lease(slice)
        if lease is None:
            raise Refusal(Code.NOT_FOUND, f"there is no slice {slice[:40]!a} on this node; get a new ticket for it")
        return lease

    def _own(self, caller: Caller, slice: str, slice_id: UUID | None, action: Action) -> LeaseRow:
        """The lease of that name, if the caller may do this to it and means this very slice."""
        lease = self._found(slice)
        caller.require(lease.owner, slice, action)
        if slice_id is not None and lease.slice_id != slice_id:
            raise Refusal(Code.NOT_FOUND, f"slice {slice} on this node is another one of that name; get a new ticket")
        return lease

    def _require_running(self, lease: LeaseRow) -> None:
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


def _same_lease(ticket: Ticket, held: LeaseRow | None) -> LeaseRow:
    if held is None or held.jti != ticket.jti:
        raise Refusal(Code.TICKET_EXPIRED, "this ticket was used, and its lease is gone or replaced; get a new ticket")
    return held


@asynccontextmanager
async def _deadline(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DRIVER_SECONDS):
            yield
    except TimeoutError:
        raise Refusal(Code.TIMEOUT, f"{what} took more than {DRIVER_SECONDS} s; try again") from None


def _key_set(lines: Sequence[str]) -> dict[bytes, PublicKey]:
    if len(lines) > MAX_KEYS:
        raise Refusal(Code.BAD_INPUT, f"a slice has at most {MAX_KEYS} keys; remove some first")
    return {key.blob: key for key in _parsed(tuple(lines))}


@functools.lru_cache(maxsize=256)
def _parsed(lines: tuple[str, ...]) -> tuple[PublicKey, ...]:
    """Kept, for strangers at the front door have keys looked up as often as they like: 999 keys cost 18 ms to read."""
    return tuple(parse_public_key(line) for line in lines)


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
