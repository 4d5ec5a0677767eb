"""Who is refused at the agent, by the agent itself, over TLS; and that a refusal changes nothing."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from agent.client import AgentClient, FrontDoor, Tickets
from models import agent as tables
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.agent.lab import AGENT, SVM, Lab, slice_name
from trust.certificates import Authority
from trust.documents import DelegationKind
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

Call = Callable[[AgentClient], Awaitable[object]]


def asking(slice: str, delegation: str | None = None) -> Call:
    return lambda client: client.tickets(
        slice=slice, numnodes=1, leaselen=60, delegation=delegation, idempotency_key=str(uuid4())
    )


async def refused(lab: Lab, credentials: Credentials | None, call: Call) -> Refusal:
    async with lab.session(credentials) as session:
        with pytest.raises(Refusal) as caught:
            await call(lab.agent_client(session))
    return caught.value


async def code(lab: Lab, credentials: Credentials | None, call: Call) -> Code:
    return (await refused(lab, credentials, call)).code


@pytest.fixture(autouse=True)
def nothing_changes(lab: Lab) -> Iterator[None]:
    """No test here leaves a ticket that was not there."""

    def jtis() -> set[str]:
        with lab.engine.connect() as connection:
            rows = connection.execute(select(tables.ticket.c.jti).where(tables.ticket.c.state != "returned"))
            return set(rows.scalars())

    before = jtis()
    yield
    assert jtis() == before


READS: Call = lambda client: client.ads()  # noqa: E731


@pytest.mark.parametrize("call", [READS, asking("demo")])
async def test_who_is_nobody_gets_nothing(lab: Lab, pi: Credentials, call: Call) -> None:
    stranger = Authority.create(datetime.now(UTC) - timedelta(days=1))
    revoked = lab.credentials(pi.identity)
    lab.revoke(revoked)
    assert await code(lab, None, call) is Code.NOT_AUTHENTICATED
    assert await code(lab, lab.credentials(pi.identity, authority=stranger), call) is Code.NOT_AUTHENTICATED
    assert await code(lab, lab.credentials(pi.identity, start=-7200, lifetime=3600), call) is Code.NOT_AUTHENTICATED
    assert await code(lab, lab.credentials(pi.identity, start=3600), call) is Code.NOT_AUTHENTICATED
    assert await code(lab, revoked, call) is Code.REVOKED


async def test_only_pis_get_tickets(lab: Lab) -> None:
    assert await code(lab, lab.user(pi=False), asking(slice_name())) is Code.NOT_ALLOWED


@pytest.mark.parametrize("role", [Role.AGENT, Role.NODE, Role.PLC])
async def test_other_roles_get_no_tickets(lab: Lab, role: Role) -> None:
    assert await code(lab, lab.credentials(Identity(role, "other")), asking(slice_name())) is Code.NOT_ALLOWED


async def test_a_service_manager_needs_the_owners_delegation(lab: Lab, pi: Credentials) -> None:
    name, svm = slice_name(), lab.svm_credentials
    now = datetime.now(UTC).replace(microsecond=0)
    revoked, student = lab.credentials(pi.identity), lab.credentials(pi.identity, pi=False)
    lab.revoke(revoked)
    other = Identity(Role.SVM, "other")
    old: Any = {"issued_at": now - timedelta(hours=2), "expires_at": now - timedelta(hours=1)}
    for delegation, wanted in [
        (None, Code.NOT_ALLOWED),
        ("nonsense", Code.BAD_INPUT),
        (lab.delegation(pi, "another"), Code.NOT_ALLOWED),
        (lab.delegation(pi, name, svm=other), Code.NOT_ALLOWED),
        (lab.delegation(pi, name, kind=DelegationKind.STANDING), Code.NOT_ALLOWED),
        (lab.delegation(pi, name, **old), Code.NOT_ALLOWED),
        (lab.delegation(revoked, name), Code.REVOKED),
        (lab.delegation(student, name), Code.NOT_ALLOWED),
    ]:
        assert await code(lab, svm, asking(name, delegation)) is wanted


async def test_an_old_revocation_list_stops_new_tickets_and_not_their_return(
    lab: Lab, pi: Credentials, as_pi: Session
) -> None:
    client = lab.agent_client(as_pi)
    found = await asking(slice_name())(client)
    assert isinstance(found, Tickets)
    number = lab.trust.revocations.number if lab.trust.revocations else 0
    lab.publish(age=400)
    try:
        assert number < lab.list_number
        assert await code(lab, pi, asking(slice_name())) is Code.CRL_STALE
        await client.return_ticket(found.promises[0].jti, None)
        assert await client.ads() is not None
    finally:
        lab.publish()


async def test_names_and_keys_that_are_none(lab: Lab, pi: Credentials, as_pi: Session) -> None:
    for name in ("root", "Demo", "../x", "x" * 32, ""):
        assert await code(lab, pi, asking(name)) is Code.BAD_INPUT
    long = lambda client: client.tickets(  # noqa: E731
        slice="demo", numnodes=1, leaselen=60, delegation=None, idempotency_key="x" * 129
    )
    assert await code(lab, pi, long) is Code.BAD_INPUT


async def test_tickets_are_given_back_by_their_owner_only(lab: Lab, pi: Credentials, as_pi: Session) -> None:
    name, client = slice_name(), lab.agent_client(as_pi)
    found = await asking(name)(client)
    assert isinstance(found, Tickets)
    jti = found.promises[0].jti

    def returning(delegation: str | None = None, jti: str = jti) -> Call:
        return lambda client: client.return_ticket(jti, delegation)

    other = lab.user()
    assert await code(lab, other, returning()) is Code.NOT_OWNER
    assert await code(lab, lab.svm_credentials, returning()) is Code.NOT_ALLOWED
    assert await code(lab, lab.svm_credentials, returning(lab.delegation(other, name))) is Code.NOT_OWNER
    assert await code(lab, lab.svm_credentials, returning(lab.delegation(pi, "another"))) is Code.NOT_ALLOWED
    assert await code(lab, pi, returning(jti="no-such-ticket")) is Code.NOT_FOUND
    assert await code(lab, lab.credentials(Identity(Role.NODE, "s1")), returning()) is Code.NOT_ALLOWED
    await client.return_ticket(jti, None)


async def test_a_name_is_given_back_by_its_owner_only(lab: Lab, pi: Credentials, as_pi: Session) -> None:
    name, client = slice_name(), lab.agent_client(as_pi)
    found = await asking(name)(client)
    assert isinstance(found, Tickets)
    other, svm = lab.user(), lab.svm_credentials

    def releasing(slice: str = name, slice_id: object = found.slice_id, delegation: str | None = None) -> Call:
        return lambda client: client.release_slice(slice, slice_id, None, delegation)  # type: ignore[arg-type]

    assert await code(lab, other, releasing()) is Code.NOT_OWNER
    assert await code(lab, svm, releasing()) is Code.NOT_ALLOWED
    assert await code(lab, svm, releasing(delegation=lab.delegation(other, name))) is Code.NOT_OWNER
    assert await code(lab, pi, releasing(slice="another")) is Code.BAD_INPUT
    assert await code(lab, pi, releasing(slice_id=uuid4())) is Code.NOT_FOUND
    assert await code(lab, lab.agent_credentials, releasing()) is Code.NOT_ALLOWED
    # Until then nobody else gets it; the owner may have it again.
    async with lab.session(svm) as session:
        until = datetime.now(UTC) + timedelta(hours=1)
        delegation = lab.delegation(pi, name)
        await lab.agent_client(session).release_slice(name, found.slice_id, until, delegation)
    assert await code(lab, other, asking(name)) is Code.NAME_TAKEN
    again = await asking(name)(client)
    assert isinstance(again, Tickets)
    assert again.slice_id != found.slice_id
    await client.return_ticket(again.promises[0].jti, None)
    await client.return_ticket(found.promises[0].jti, None)


async def test_nodes_alone_advertise_and_only_themselves(lab: Lab, pi: Credentials, as_pi: Session) -> None:
    found = await lab.agent_client(as_pi).ads()
    assert found is not None
    ad = found.ads[0]

    def telling(client: AgentClient) -> Awaitable[object]:
        return client.advertise(ad)

    for credentials in (pi, lab.svm_credentials, lab.agent_credentials):
        assert await code(lab, credentials, telling) is Code.NOT_ALLOWED
    other = lab.credentials(Identity(Role.NODE, "other"), addresses=[ad.address])
    assert await code(lab, other, telling) is Code.NOT_ALLOWED
    elsewhere = lab.credentials(ad.identity, addresses=["127.0.0.9"])
    assert await code(lab, elsewhere, telling) is Code.NOT_ALLOWED
    revoked = lab.credentials(ad.identity, addresses=[ad.address])
    lab.revoke(revoked)
    assert await code(lab, revoked, telling) is Code.REVOKED


async def test_two_nodes_never_have_one_address(lab: Lab, as_pi: Session) -> None:
    found = await lab.agent_client(as_pi).ads()
    assert found is not None
    ad = replace(found.ads[0], node="twin")
    twin = lab.credentials(ad.identity, addresses=[ad.address])
    assert await code(lab, twin, lambda client: client.advertise(ad)) is Code.NAME_TAKEN


async def test_the_address_of_a_node_that_is_gone_may_be_another_nodes(lab: Lab, as_pi: Session) -> None:
    found = await lab.agent_client(as_pi).ads()
    assert found is not None
    address = f"{lab.network}.99"
    door = FrontDoor(address, 22, found.ads[0].frontdoor.host_key)
    ads = [
        replace(found.ads[0], node=name, address=address, api=f"https://{address}:1", frontdoor=door)
        for name in ("gone", "heir")
    ]
    gone, heir = (lab.credentials(ad.identity, addresses=[address]) for ad in ads)
    async with lab.session(gone) as first, lab.session(heir) as second:
        await lab.agent_client(first).advertise(ads[0])
        with pytest.raises(Refusal):
            await lab.agent_client(second).advertise(ads[1])
        with lab.engine.begin() as connection:
            ended = update(tables.ad).where(tables.ad.c.node == "gone").values(expires_at=datetime.now(UTC))
            connection.execute(ended)
        await lab.agent_client(second).advertise(ads[1])
        with pytest.raises(Refusal):
            await lab.agent_client(first).advertise(ads[0])
    with lab.engine.begin() as connection:
        connection.execute(delete(tables.ad).where(tables.ad.c.address == address))


async def test_ads_come_by_tag_in_the_order_of_addresses(lab: Lab, as_pi: Session) -> None:
    client = lab.agent_client(as_pi)
    found = await client.ads()
    assert found is not None
    assert [ad.address for ad in found.ads] == lab.addresses()
    assert all(ad.simulated and ad.frontdoor.host_key.startswith("ssh-ed25519 ") for ad in found.ads)
    assert await client.ads(found.etag) is None
    assert await client.ads('"another"') is not None


async def test_the_agent_must_be_the_agent(lab: Lab, pi: Credentials) -> None:
    async with lab.session(pi) as session:
        for wrong in (Identity(Role.AGENT, "other"), SVM):
            with pytest.raises(Refusal) as caught:
                await AgentClient(session, lab.agent_url, wrong).ads()
            assert caught.value.code is Code.WRONG_CERTIFICATE
        assert await AgentClient(session, lab.agent_url, AGENT).ads() is not None
