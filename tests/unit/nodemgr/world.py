"""One node in a test's folder, with callers and tickets for it; documents and certificates are real."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from nodemgr.admission import Capacity
from nodemgr.caller import Caller
from nodemgr.node import Node
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.storage.store import LeaseRow, Store
from rpc.credentials import Credentials
from tests.unit.trust import factories
from tests.unit.trust.factories import AGENT, NODE, SLICE_ID, SVM, USER, StillClock, certificate_of, key_of
from trust.certificates import certificate_to_pem, key_to_pem
from trust.documents import sign_delegation, sign_ticket
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair
from trust.store import TrustStore

SLICE = "oceanstore"
OTHER_USER = Identity.user("dec@cs.berkeley.edu")
OTHER_SVM = Identity(Role.SVM, "other")
OTHER_ID = UUID("00000000-0000-4000-8000-000000000002")
CAPACITY = Capacity(slots=3, memory_mb=1_000, sliver_mb=100, processes=10)
GRACE = 60
SLICE_KEYS = [new_ssh_key_pair("slice") for _ in range(2)]
USER_KEYS = [new_ssh_key_pair(f"user{number}")[1] for number in range(3)]


class Closer:
    """A front door that notes whose sessions it was to end."""

    def __init__(self) -> None:
        self.closed: list[tuple[str, tuple[str, ...] | None]] = []

    def logged_in(self) -> int:
        return 0

    def close_sessions(self, slice: str, *, keys: Any) -> None:
        self.closed.append((slice, None if keys is None else tuple(keys)))


@dataclass
class World:
    """A node that can be stopped and started again over the same folder."""

    folder: Path
    clock: StillClock = field(default_factory=StillClock)
    closer: Closer = field(default_factory=Closer)

    def __post_init__(self) -> None:
        self.trust: TrustStore = factories.store_of(clock=self.clock)
        self.credentials = Credentials(self.folder / "node")
        self.credentials.save(
            key_pem=key_to_pem(key_of(Role.NODE)),
            certificate_pem=certificate_to_pem(certificate_of(NODE)),
            ca_pem=certificate_to_pem(factories.authority().certificate),
        )
        self.driver = SimulatedDriver(self.folder / "slivers")
        self.start()

    def start(self) -> None:
        """As after a restart: nothing is known but what is on disk."""
        self.store = Store(self.folder / "node.db", NODE)
        self.store.clock = self.clock.now
        self.node = Node(
            identity=NODE,
            credentials=self.credentials,
            trust=self.trust,
            store=self.store,
            driver=self.driver,
            capacity=CAPACITY,
            agents=frozenset([AGENT]),
            grace=GRACE,
            sessions=self.closer,
        )

    def restart(self) -> None:
        self.store.close()
        self.start()

    def user(self, identity: Identity = USER, *, pi: bool = True) -> Caller:
        """A user who calls by himself."""
        return Caller(self.trust.peer(certificate_of(identity, pi=pi), [Role.USER]), None)

    def svm(self, slice: str = SLICE, *, svm: Identity = SVM, **changes: Any) -> Caller:
        """A service manager with the owner's working delegation (or as `changes` say)."""
        return Caller.of(self.peer(svm), self.delegation(slice=slice, svm=svm, **changes), self.trust)

    def peer(self, identity: Identity) -> Any:
        return self.trust.peer(certificate_of(identity), [identity.role])

    def delegation(self, **changes: Any) -> str:
        now = self.clock.now()
        values = {"issued_at": now, "expires_at": now + timedelta(hours=12), **changes}
        made = factories.delegation(**values)
        return sign_delegation(made, key_of(Role.USER), certificate_of(made.issuer))

    def ticket(self, jti: str = "t-1", **changes: Any) -> str:
        now = self.clock.now()
        values = {"jti": jti, "issued_at": now, "expires_at": now + timedelta(seconds=3600), **changes}
        made = factories.ticket(**values)
        return sign_ticket(made, key_of(Role.AGENT), certificate_of(made.issuer))

    def leased(self, jti: str = "t-1", **changes: Any) -> LeaseRow:
        """A lease for the user's slice."""
        owner = changes.get("owner", USER)
        return self.node.redeem(self.user(owner), self.ticket(jti, **changes))

    async def running(self, jti: str = "t-1", **changes: Any) -> LeaseRow:
        """A sliver for it."""
        lease = self.leased(jti, **changes)
        return await self.node.create(self.user(lease.owner), lease.slice, lease.token, *SLICE_KEYS[0])


class refused:  # noqa: N801 - reads as what it is
    """The block must end with a Refusal of this code."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def __enter__(self) -> "refused":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert isinstance(error, Refusal), f"not refused with {self.code}: {error!r}"
        assert error.code is self.code, f"{error.code}: {error.reason}"
        self.refusal = error
        return True


def only(world: World) -> LeaseRow:
    """The one lease of the node."""
    (row,) = world.store.leases()
    return row


__all__ = ["AGENT", "NODE", "SLICE_ID", "SVM", "USER"]
