"""Who is refused at a node, by the node itself, over TLS: at each call, and nothing has changed afterwards."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from nodemgr.client import NodeClient
from nodemgr.power import What
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab
from tests.integration.nodemgr.conftest import KEY_PAIR, Held, Holding
from trust.certificates import Authority
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

KEY = new_ssh_key_pair("user")[1]
Call = Callable[[NodeClient], Awaitable[object]]


def calls(held: Held, token: str, delegation: str | None = None) -> dict[str, Call]:
    """Every changing call, each of which the owner could make."""
    slice, slice_id = held.slice, held.slice_id
    return {
        "redeem": lambda node: node.redeem(held.promise.token, delegation),
        "create": lambda node: node.create(slice, token, *KEY_PAIR, delegation),
        "set_access": lambda node: node.set_access(slice, slice_id, 1, [KEY], delegation),
        "renew": lambda node: node.renew(slice, slice_id, 1, delegation),
        "delete": lambda node: node.delete(slice, slice_id, held.promise.jti, delegation),
        **{what: partial(order, held, what, delegation) for what in What},
    }


async def order(held: Held, what: str, delegation: str | None, node: NodeClient) -> object:
    return await node.order(what, held.slice, held.slice_id, datetime.now(UTC), delegation)


async def codes(held: Held, credentials: Credentials | None, wanted: dict[str, Call]) -> dict[str, Code]:
    """How each call is refused."""
    found = {}
    async with held.lab.session(credentials) as session:
        for name, call in wanted.items():
            with pytest.raises(Refusal) as caught:
                await call(held.client(session))
            found[name] = caught.value.code
    return found


def each(wanted: dict[str, Call], code: Code) -> dict[str, Code]:
    return dict.fromkeys(wanted, code)


async def test_who_is_nobody_does_nothing(lab: Lab, hold: Holding, as_pi: Session, pi: Credentials) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    wanted = calls(held, lease.token) | {"inventory": lambda node: node.inventory()}
    stranger = Authority.create(datetime.now(UTC) - timedelta(days=1))
    revoked = lab.credentials(pi.identity)
    lab.revoke(revoked)
    before = lab.node(held.promise.address).node.store.lease(held.slice)
    for credentials, code in [
        (None, Code.NOT_AUTHENTICATED),
        (lab.credentials(pi.identity, authority=stranger), Code.NOT_AUTHENTICATED),
        (lab.credentials(pi.identity, start=-7200, lifetime=3600), Code.NOT_AUTHENTICATED),
        (revoked, Code.REVOKED),
    ]:
        assert await codes(held, credentials, wanted) == each(wanted, code)
    assert lab.node(held.promise.address).node.store.lease(held.slice) == before


async def test_another_users_slice(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    wanted = calls(held, lease.token) | {"get": lambda node: node.get(held.slice)}
    assert await codes(held, lab.user(), wanted) == each(wanted, Code.NOT_OWNER)


async def test_who_is_no_pi_may_only_delete(lab: Lab, hold: Holding, as_pi: Session, pi: Credentials) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    wanted = calls(held, lease.token)
    for taking_away in ("delete", "stop"):
        wanted.pop(taking_away)
    student = lab.credentials(pi.identity, pi=False)
    assert await codes(held, student, wanted) == each(wanted, Code.NOT_ALLOWED)
    async with lab.session(student) as session:
        await held.client(session).set_access(held.slice, held.slice_id, 1, [], None)
        await order(held, "stop", None, held.client(session))
        await held.client(session).delete(held.slice, held.slice_id, held.promise.jti, None)


async def test_other_roles(lab: Lab, hold: Holding, as_pi: Session) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    wanted = calls(held, lease.token) | {"inventory": lambda node: node.inventory()}
    for role in (Role.AGENT, Role.NODE, Role.PLC):
        assert await codes(held, lab.credentials(Identity(role, "other")), wanted) == each(wanted, Code.NOT_ALLOWED)


async def test_a_service_manager_without_the_owners_delegation(
    lab: Lab, hold: Holding, as_pi: Session, pi: Credentials
) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    now = datetime.now(UTC).replace(microsecond=0)
    old: Any = {"issued_at": now - timedelta(hours=2), "expires_at": now - timedelta(hours=1)}
    revoked, student = lab.credentials(pi.identity), lab.credentials(pi.identity, pi=False)
    lab.revoke(revoked)
    for delegation, code in [
        (lab.delegation(pi, "another"), Code.NOT_ALLOWED),
        (lab.delegation(pi, held.slice, svm=Identity(Role.SVM, "other")), Code.NOT_ALLOWED),
        (lab.delegation(pi, held.slice, **old), Code.NOT_ALLOWED),
        (lab.delegation(lab.user(), held.slice), Code.NOT_OWNER),
        (lab.delegation(revoked, held.slice), Code.REVOKED),
        (lab.delegation(student, held.slice), Code.NOT_ALLOWED),
        ("nonsense", Code.BAD_INPUT),
    ]:
        wanted = calls(held, lease.token, delegation)
        assert await codes(held, lab.svm_credentials, wanted) == each(wanted, code)
    bare = calls(held, lease.token)
    expected = each(bare, Code.NOT_OWNER) | {"delete": Code.NOT_ALLOWED}
    assert await codes(held, lab.svm_credentials, bare) == expected


@pytest.mark.parametrize(
    ("age", "refused"), [(400, {"redeem", "create", "set_access", "start", "restart", "reset"}), (3700, {"renew"})]
)
async def test_an_old_revocation_list(
    lab: Lab, hold: Holding, as_pi: Session, pi: Credentials, age: int, refused: set[str]
) -> None:
    held = await hold()
    lease = await held.run(as_pi)
    wanted = calls(held, lease.token)
    lab.publish(age=age)
    try:
        late = {name: call for name, call in wanted.items() if name in refused}
        assert await codes(held, pi, late) == each(late, Code.CRL_STALE)
        async with lab.session(pi) as session:
            node = held.client(session)
            if age < 3600:
                assert (await node.renew(held.slice, held.slice_id, 1, None)).generation == 2
            await node.set_access(held.slice, held.slice_id, 1, [], None)
            assert await node.inventory()
            await order(held, "stop", None, node)
            await node.delete(held.slice, held.slice_id, held.promise.jti, None)
    finally:
        lab.publish()
