"""Any order of tickets, leases, slivers, duplicates, crashes and clock steps keeps the invariants I1, I2, I4 and I5.

A crash is one at any write to the store and at any call of the driver, before or after it; the node then starts again
over the same folder, as after kill -9 (SQLite's own part in that: test_store).
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nodemgr.expiry import Expiry, recover
from nodemgr.liveness import Liveness
from nodemgr.power import Order, What, obey
from nodemgr.slivers.drivers.simulated import STOPPED
from nodemgr.storage.store import Store
from tests.unit.nodemgr.world import GRACE, SLICE_KEYS, USER_KEYS, World
from tests.unit.trust.factories import NODE, NOW
from trust.documents import verify_lease
from trust.errors import Refusal

SLICES = {"aa": [UUID(int=1), UUID(int=2)], "bb": [UUID(int=3)]}
LEASELEN = 100
SLICE = st.sampled_from(sorted(SLICES))
TICKET = st.integers(0, 3)


class Crash(BaseException):
    """kill -9."""


class Fuse:
    """Counts down writes and driver calls; at zero the process dies."""

    left: int | None = None

    def step(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise Crash


class FusedStore(Store):
    """A store that may die right before or right after a commit."""

    fuse: Fuse | None = None

    def _commit(self) -> None:
        if self.fuse:
            self.fuse.step()
        super()._commit()
        if self.fuse:
            self.fuse.step()


class FusedDriver:
    """A driver during whose calls the process may die."""

    def __init__(self, driver: Any, fuse: Fuse) -> None:
        self.driver, self.fuse = driver, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if name not in ("create", "delete", "start", "stop", "reset", "set_slice_key"):
            return found

        async def call(*args: Any, **options: Any) -> None:
            self.fuse.step()
            await found(*args, **options)
            self.fuse.step()

        return call


class NodeMachine(RuleBasedStateMachine):
    """One node, one owner, two slice names; the first of them was registered twice in its time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.fuse = Fuse()
        self.world = World(Path(self.folder.name))
        self.caller = self.world.user()
        self.tickets: dict[tuple[str, UUID, int], str] = {}
        self.crash_after: int | None = None
        self.holding: dict[str, str] = {}  # slice: ticket of the lease that was seen last
        self.granted: set[str] = set()  # tickets that were seen to have made a lease
        self.generations: dict[UUID, int] = {}
        self.tokens: dict[str, str] = {}
        self.orders = 0
        self.start()

    def teardown(self) -> None:
        self.world.store.close()
        self.loop.close()
        self.folder.cleanup()

    def start(self) -> None:
        self.world.store.close()
        store = FusedStore(self.world.folder / "node.db", NODE)
        self.world.start()
        self.world.store.close()
        store._file.connection.execute("PRAGMA synchronous = OFF")  # the test's process does not die
        store.fuse = self.fuse
        self.world.store = self.world.node.store = store
        self.world.node.driver = FusedDriver(self.world.driver, self.fuse)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it; a refusal is an answer, a crash is followed by a restart."""
        self.fuse.left, self.crash_after = self.crash_after, None
        try:
            return self.loop.run_until_complete(work)
        except Refusal:
            return None
        except Crash:
            self.start()
            self.loop.run_until_complete(recover(self.world.node))
            return None
        finally:
            self.fuse.left = None
            self.observe()

    def observe(self) -> None:
        """I2: no ticket is seen to make a lease twice."""
        rows = {row.slice: row.jti for row in self.world.store.leases()}
        for slice, jti in rows.items():
            if self.holding.get(slice) != jti:
                assert jti not in self.granted, f"ticket {jti} made two leases"
                self.granted.add(jti)
        self.holding = rows

    @initialize()
    def begin(self) -> None:
        self.do(recover(self.world.node))

    @rule(after=st.integers(0, 6))
    def crash_soon(self, after: int) -> None:
        self.crash_after = after

    @rule(slice=SLICE, which=st.integers(0, 1), number=TICKET)
    def redeem(self, slice: str, which: int, number: int) -> None:
        slice_id = SLICES[slice][which % len(SLICES[slice])]
        key = (slice, slice_id, number)
        jti = f"{slice}-{slice_id.int}-{number}"
        changes = {"slice": slice, "slice_id": slice_id, "leaselen": LEASELEN}
        ticket = self.tickets.setdefault(key, self.world.ticket(jti, **changes))

        async def work() -> Any:
            return self.world.node.redeem(self.caller, ticket)

        row = self.do(work())
        if row is not None:
            assert row.jti == jti
            lease = verify_lease(row.token, store=self.world.trust)
            assert lease.generation >= self.generations.get(slice_id, 0)  # I4
            self.generations[slice_id] = lease.generation
            self.tokens[slice] = row.token

    @rule(slice=SLICE, pair=st.integers(0, 1))
    def create(self, slice: str, pair: int) -> None:
        self.do(self.world.node.create(self.caller, slice, self.tokens.get(slice, ""), *SLICE_KEYS[pair]))

    @rule(slice=SLICE, back=st.integers(-1, 1))
    def renew(self, slice: str, back: int) -> None:
        row = self.world.store.lease(slice)
        if row is None:
            return

        async def work() -> Any:
            return self.world.node.renew(self.caller, slice, row.slice_id, row.generation - back)

        renewed = self.do(work())
        if renewed is not None:
            assert renewed.expires_at >= row.expires_at
            assert renewed.generation >= row.generation
            self.tokens[slice] = renewed.token

    @rule(slice=SLICE, generation=st.integers(0, 4), keys=st.sets(st.sampled_from(USER_KEYS)))
    def set_access(self, slice: str, generation: int, keys: set[str]) -> None:
        row = self.world.store.lease(slice)
        if row is not None:
            self.do(self.world.node.set_access(self.caller, slice, row.slice_id, generation, sorted(keys)))

    @rule(slice=SLICE, which=st.integers(0, 1), number=st.none() | TICKET)
    def delete(self, slice: str, which: int, number: int | None) -> None:
        slice_id = SLICES[slice][which % len(SLICES[slice])]
        jti = None if number is None else f"{slice}-{slice_id.int}-{number}"
        self.do(self.world.node.delete(self.caller, slice, slice_id, jti))

    @rule(seconds=st.integers(-30, 90))
    def pass_time(self, seconds: int) -> None:
        if self.world.clock.now() + timedelta(seconds=seconds) >= NOW:
            self.world.clock.forward(seconds)

    @rule()
    def tick(self) -> None:
        self.do(Expiry(self.world.node).tick())
        # I5, crash or no crash: a restart has its own round.
        now = self.world.clock.now()
        rows = self.world.store.leases()
        assert all(row.expires_at + timedelta(seconds=GRACE) > now for row in rows)
        there = self.loop.run_until_complete(self.world.driver.list())
        assert there.keys() <= {row.slice for row in rows}

    @rule(slice=SLICE, what=st.sampled_from(What), back=st.integers(-1, 2))
    def order(self, slice: str, what: What, back: int) -> None:
        """A new one, the last one again, or one from before."""
        row = self.world.store.lease(slice)
        if row is None:
            return
        self.orders = max(self.orders, self.orders - back)
        order = Order(what, row.slice_id, NOW + timedelta(microseconds=max(self.orders - max(back, 0), 1)))
        last = self.world.store.power(row.slice_id).ordered_at
        done = self.do(obey(self.world.node, self.caller, slice, order))
        after = self.world.store.lease(slice)
        if order.number < last:
            assert done is None
            assert after is None or after.state in (row.state, "leased")  # a crash may have cut short what was before
        elif done is not None and what is not What.RESET and order.number > last:
            assert done.state == ("leased" if what is What.STOP else "running")

    @rule(slice=SLICE)
    def end_by_itself(self, slice: str) -> None:
        for path in self.world.driver.directory.glob(f"{slice}@*"):
            path.unlink()
        self.do(Liveness(self.world.node).tick())
        row = self.world.store.lease(slice)
        assert row is None or row.state != "running"

    @rule()
    def restart(self) -> None:
        self.start()
        self.do(recover(self.world.node))

    @invariant()
    def store_and_driver_agree(self) -> None:
        """I1: what the driver has is leased, or on the list of removals; nothing is there twice."""
        there = self.loop.run_until_complete(self.world.driver.list())
        known = {(row.slice, row.slice_id) for row in self.world.store.leases() if row.slice_key}
        known |= set(self.world.store.removals())
        assert set(there.items()) <= known
        running = {row.slice for row in self.world.store.leases() if row.state == "running"}
        assert running <= there.keys()
        for path in self.world.driver.directory.iterdir():
            row = self.world.store.lease(path.name.partition("@")[0])
            if row is not None and row.has_sliver and (row.slice, row.slice_id) not in self.world.store.removals():
                assert path.read_text() == ("" if row.state == "running" else STOPPED)


TestNodeMachine = NodeMachine.TestCase
TestNodeMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
