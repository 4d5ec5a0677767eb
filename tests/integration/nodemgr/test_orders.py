"""What a node does by the operator's order, and by nobody else's: each order is checked by the node itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from nodemgr.advertise import advertisement
from nodemgr.node import Node
from nodemgr.orders import Heed
from plc.client import PLC
from plc.client.orders import Drain, Ordered, Orders
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab
from tests.integration.nodemgr.conftest import Held, Holding
from trust.certificates import Authority
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.orders import Order, Signer, new_order, sign_order


@pytest.fixture(scope="module")
def pi(lab: Lab) -> Credentials:
    """One of this file's own: each test takes names, and nobody may hold many."""
    return lab.user()


@dataclass
class Central:
    """What plc says to one node's looks, and what it hears."""

    lab: Lab
    node: Node
    drains: dict[str, Drain] = field(default_factory=dict)
    removals: tuple[Ordered, ...] = ()
    heard: list[str] = field(default_factory=list)
    looks: Heed | None = None

    def look(self) -> None:
        """One look of the node, which has a loop of its own."""
        tag = str(uuid4())
        said = Orders(tag, self.drains, self.removals)
        self.looks = self.looks or Heed(lambda _: said, [(self.node, self._hear)])
        self.looks.ask = lambda _: said
        self.lab.run(self.looks.look())

    def _hear(self, orders: Sequence[str]) -> None:
        self.heard += orders


def central(lab: Lab, held: Held) -> Central:
    return Central(lab, lab.node(held.promise.address).node)


def order(held: Held, issuer: Identity, *, everywhere: bool = False, **changes: Any) -> Order:
    where = None if everywhere else Identity(Role.NODE, held.promise.node)
    now = datetime.now(UTC)
    made = new_order(issuer, where, held.slice, held.slice_id, "abuse", now, now + timedelta(days=30))
    values = {name: getattr(made, name) for name in made.__dataclass_fields__}
    return Order(**values | changes)


def by(credentials: Credentials, made: Order, signer: Signer = Signer.ADMIN) -> Ordered:
    return Ordered(sign_order(made, credentials.key, credentials.certificate), signer, done=False)


async def there(held: Held, session: Session) -> bool:
    return held.slice in {one.slice for one in await held.client(session).inventory()}


async def test_an_admins_order_removes_a_sliver(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held, another = await hold(), await hold()
    await held.run(as_pi)
    await another.run(as_pi)
    admin, plc = lab.user(admin=True), central(lab, held)
    made = order(held, admin.identity)
    plc.removals = (by(admin, made),)
    plc.look()
    assert not await there(held, as_pi)
    assert plc.heard == [made.jti]
    assert plc.node.store.removals() == [] or plc.node.store.lease(held.slice) is None
    assert lab.node(another.promise.address).node.store.lease(another.slice) is not None
    plc.look()
    assert plc.heard == [made.jti] * 2  # until plc has heard it


async def test_the_cas_order_does_so_everywhere(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    await held.run(as_pi)
    plc, made = central(lab, held), order(held, PLC, everywhere=True)
    plc.removals = (Ordered(sign_order(made, lab.authority.key, None), Signer.PLC, done=False),)
    plc.look()
    assert not await there(held, as_pi)
    assert plc.heard == []  # nobody counts who obeys an order to all


Maker = Callable[[Lab, Held, Credentials], Ordered]


def _stranger(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    other = Authority.create(datetime.now(UTC) - timedelta(days=1))
    user = lab.user(admin=True, authority=other)
    return by(user, order(held, user.identity))


def _revoked(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    user = lab.user(admin=True)
    lab.revoke(user)
    return by(user, order(held, user.identity))


def _service(role: Role) -> Maker:
    def make(lab: Lab, held: Held, owner: Credentials) -> Ordered:
        del owner
        service = lab.svm_credentials if role is Role.SVM else lab.credentials(Identity(role, "plc"))
        # The only kind of order that a service's key can sign; the CA's alone counts.
        return Ordered(sign_order(order(held, PLC), service.key, None), Signer.PLC, done=False)

    return make


def _old(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    user, now = lab.user(admin=True), datetime.now(UTC).replace(microsecond=0)
    return by(user, order(held, user.identity, issued_at=now - timedelta(days=2), expires_at=now - timedelta(days=1)))


def _of_another_node(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    user = lab.user(admin=True)
    return by(user, order(held, user.identity, node=Identity(Role.NODE, "elsewhere")))


def _of_another_slice(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    user = lab.user(admin=True)
    return by(user, order(held, user.identity, slice_id=uuid4()))


def _owner(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del lab
    return by(owner, order(held, owner.identity))


def _in_an_admins_name(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    return by(owner, order(held, lab.user(admin=True).identity))


def _another_pi(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    user = lab.user()
    return by(user, order(held, user.identity))


def _another_user(lab: Lab, held: Held, owner: Credentials) -> Ordered:
    del owner
    user = lab.user(pi=False)
    return by(user, order(held, user.identity))


SIGNERS: dict[str, Maker] = {
    "the owner": _owner,
    "the owner as an admin": _in_an_admins_name,
    "another PI": _another_pi,
    "another user": _another_user,
    "svm": _service(Role.SVM),
    "agent": _service(Role.AGENT),
    "node": _service(Role.NODE),
    "plc's everyday key": _service(Role.PLC),
    "an admin of another CA": _stranger,
    "an admin who is revoked": _revoked,
    "an order that has ended": _old,
    "an order for another node": _of_another_node,
    "an order about another slice": _of_another_slice,
}


@pytest.mark.parametrize("who", SIGNERS)
async def test_nobody_elses_order_does(lab: Lab, hold: Holding, as_pi: Session, pi: Credentials, who: str) -> None:
    held = await hold()
    await held.run(as_pi)
    plc = central(lab, held)
    before = plc.node.store.lease(held.slice)
    plc.removals = (SIGNERS[who](lab, held, pi),)
    plc.look()
    assert plc.node.store.lease(held.slice) == before
    assert await there(held, as_pi)


READERS: dict[str, Callable[[Lab], Credentials]] = {
    "pi": lambda lab: lab.user(),
    "user": lambda lab: lab.user(pi=False),
    "svm": lambda lab: lab.svm_credentials,
    "agent": lambda lab: lab.agent_credentials,
    "node": lambda lab: lab.population.nodes[0].node.credentials,
}


async def read_all(lab: Lab, held: Held, credentials: Credentials) -> Any:
    async with lab.session(credentials) as session:
        api = held.promise.api
        expect = Identity(Role.NODE, held.promise.node)
        return (await session.call("GET", f"{api}/operator/slivers", expect=expect)).body


@pytest.mark.parametrize("who", READERS)
async def test_nobody_else_reads_everything(lab: Lab, hold: Holding, who: str) -> None:
    held = await hold()
    with pytest.raises(Refusal) as caught:
        await read_all(lab, held, READERS[who](lab))
    assert caught.value.code is Code.NOT_ALLOWED


async def test_the_operator_reads_everything(lab: Lab, hold: Holding, as_pi: Session, pi: Credentials) -> None:
    held = await hold()
    await held.run(as_pi)
    for credentials in (lab.user(admin=True), lab.credentials(PLC)):
        (found,) = [one for one in (await read_all(lab, held, credentials))["slivers"] if one["slice"] == held.slice]
        assert (found["owner"], found["via"], found["state"]) == (pi.identity.name, None, "running")


async def test_a_service_manager_is_told_why(lab: Lab, hold: Holding, as_pi: Session, as_svm: Session) -> None:
    """Also after a restart of the node, which hears of obeyed orders again; not of what is there again."""
    held, admin = await hold(), lab.user(admin=True)
    await held.run(as_pi)
    plc, made = central(lab, held), order(held, admin.identity)
    plc.removals = (Ordered(by(admin, made).token, Signer.ADMIN, done=True),)
    plc.look()
    assert plc.node.store.lease(held.slice) is not None
    (told,) = (await held.client(as_svm).contents()).removed
    assert (told.slice, told.slice_id, told.reason) == (held.slice, held.slice_id, "abuse")
    assert (await held.client(as_pi).contents()).removed == ()
    plc.removals = ()
    plc.look()
    assert (await held.client(as_svm).contents()).removed == ()


async def test_a_drained_node_takes_nothing_new(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held, plc_says = await hold(), "this node is drained: new disk"
    there_already = await hold(held.promise.address)
    lease = await there_already.run(as_pi)
    plc = central(lab, held)
    plc.drains = {plc.node.identity.name: Drain(plc.node.identity.name, "new disk", True, None)}
    plc.look()
    assert advertisement(plc.node, lab.node(held.promise.address).place).slots_free == 0
    with pytest.raises(Refusal) as caught:
        await held.redeem(as_pi)
    assert caught.value.code is Code.OVER_CAPACITY
    assert plc_says in caught.value.reason
    renewed = await there_already.client(as_pi).renew(there_already.slice, there_already.slice_id, 1, None)
    assert renewed.generation == lease.generation + 1
    plc.drains = {}
    plc.look()
    assert (await held.redeem(as_pi)).generation == 1


async def test_a_node_says_that_it_is_to_be_empty(lab: Lab, hold: Holding, as_pi: Session, as_svm: Session) -> None:
    held = await hold()
    await held.run(as_pi)
    plc = central(lab, held)
    name = plc.node.identity.name
    for drain, told in (
        (Drain(name, "new disk", True, None), None),
        (Drain(name, "new disk", True, None, replaces=True), "new disk"),
        (Drain(name, "new disk", True, datetime.now(UTC) - timedelta(seconds=1), replaces=True), None),
    ):
        plc.drains = {name: drain}
        plc.look()
        assert (await held.client(as_svm).contents()).leaving == told
    plc.drains = {}
    plc.look()


async def test_a_drained_node_may_renew_nothing(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    await held.run(as_pi)
    plc = central(lab, held)
    name = plc.node.identity.name
    plc.drains = {name: Drain(name, "new disk", False, datetime.now(UTC) + timedelta(hours=1))}
    plc.look()
    with pytest.raises(Refusal) as caught:
        await held.client(as_pi).renew(held.slice, held.slice_id, 1, None)
    assert caught.value.code is Code.NOT_ALLOWED
    assert "renews no lease: new disk" in caught.value.reason
    plc.drains = {name: Drain(name, "new disk", False, datetime.now(UTC) - timedelta(seconds=1))}
    plc.look()
    assert (await held.client(as_pi).renew(held.slice, held.slice_id, 1, None)).generation == 2
    plc.drains = {}
    plc.look()
