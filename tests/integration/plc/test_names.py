"""The registry of slice names: one owner for a name, whichever agents ask for it (PROTOCOL "Names")."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import DBAPIError

from models.plc import account, slice_name
from plc import accounts, names
from plc.client import Member
from tests.integration.plc.conftest import Certified, Running, refused
from trust.documents import Delegation, DelegationKind, sign_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.fixture(scope="module")
def agent(plc: Running) -> Member:
    return plc.member(Role.AGENT)


@pytest.fixture(scope="module")
def other_agent(plc: Running) -> Member:
    return plc.member(Role.AGENT)


@pytest.fixture(scope="module")
def owner(plc: Running) -> Certified:
    return plc.certified(is_pi=True)


@pytest.fixture(scope="module")
def rival(plc: Running) -> Certified:
    return plc.certified(is_pi=True)


def a_name() -> str:
    return f"slice_{secrets.token_hex(6)}"


def test_one_owner_for_a_name(agent: Member, other_agent: Member, owner: Certified, rival: Certified) -> None:
    name = a_name()
    slice_id = agent.plc.register_slice(name, owner.identity)
    assert agent.plc.register_slice(name, owner.identity) == slice_id
    assert other_agent.plc.register_slice(name, owner.identity) == slice_id
    for member in (agent, other_agent):
        refused(partial(member.plc.register_slice, name, rival.identity), Code.NAME_TAKEN, f"{name} is taken")


def test_a_name_is_free_when_every_agent_gave_it_back(
    agent: Member, other_agent: Member, owner: Certified, rival: Certified
) -> None:
    name = a_name()
    slice_id = agent.plc.register_slice(name, owner.identity)
    other_agent.plc.register_slice(name, owner.identity)
    agent.plc.release_slice(name, slice_id)
    agent.plc.release_slice(name, slice_id)
    refused(lambda: agent.plc.register_slice(name, rival.identity), Code.NAME_TAKEN, "taken")
    assert agent.plc.register_slice(name, owner.identity) == slice_id

    agent.plc.release_slice(name, slice_id)
    other_agent.plc.release_slice(name, slice_id)
    next_id = agent.plc.register_slice(name, rival.identity)
    assert next_id != slice_id
    agent.plc.release_slice(name, slice_id)  # said again, late: it is another slice now
    refused(lambda: agent.plc.register_slice(name, owner.identity), Code.NAME_TAKEN, "taken")
    refused(lambda: other_agent.plc.release_slice(name, next_id), Code.NOT_OWNER, "did not register")


def test_a_held_name_is_its_owners_until_the_last_lease_can_have_ended(
    plc: Running, agent: Member, other_agent: Member, owner: Certified, rival: Certified
) -> None:
    name, now = a_name(), plc.central.clock.now()
    slice_id = agent.plc.register_slice(name, owner.identity)
    other_agent.plc.register_slice(name, owner.identity)
    agent.plc.release_slice(name, slice_id, now + timedelta(days=2))
    other_agent.plc.release_slice(name, slice_id, now + timedelta(days=1))
    refused(lambda: agent.plc.register_slice(name, rival.identity), Code.NAME_TAKEN, "taken")

    again = agent.plc.register_slice(name, owner.identity)
    assert again != slice_id
    agent.plc.release_slice(name, again, now + timedelta(days=2))
    with plc.central.begin() as connection:
        who = accounts.load(connection, rival.email, lock=True)
        take = partial(names.register, connection, name, who, "agent", 50)
        refused(lambda: take(now + timedelta(days=1, hours=23)), Code.NAME_TAKEN, "taken")
        assert take(now + timedelta(days=2, seconds=1)) != again


def test_no_agent_holds_a_name_for_longer_than_a_lease(plc: Running, agent: Member, owner: Certified) -> None:
    name = a_name()
    slice_id = agent.plc.register_slice(name, owner.identity)
    far = plc.central.clock.now() + timedelta(days=16)
    refused(lambda: agent.plc.release_slice(name, slice_id, far), Code.BAD_INPUT, "further away than any lease")


def test_who_may_own_slices(plc: Running, agent: Member) -> None:
    plain, gone = plc.certified(), plc.certified(is_pi=True)
    with plc.central.begin() as connection:
        connection.execute(update(account).where(account.c.email == gone.email).values(state="disabled", reason="left"))
    take = partial(agent.plc.register_slice, a_name())
    refused(lambda: take(plain.identity), Code.NOT_ALLOWED, "only PIs have slices")
    refused(lambda: take(gone.identity), Code.NOT_ALLOWED, "is disabled (left)")
    refused(lambda: take(Identity.user("ghost@example.org")), Code.NOT_FOUND, "no account")
    refused(lambda: take(agent.identity), Code.BAD_INPUT, "cannot own a slice")


def test_a_plc_that_is_open_to_all(plc: Running) -> None:
    plain = plc.certified()
    with plc.central.begin() as connection:
        who = accounts.load(connection, plain.email)
    accounts.require_may_own_slices(who, plc.settings.model_copy(update={"open": True}))


@pytest.mark.parametrize("name", ["x", "Upper", "root", "has-dash", "a" * 32, "..", "1abc"])
def test_what_is_no_name(agent: Member, owner: Certified, name: str) -> None:
    with pytest.raises(Refusal, match=r"slice name|reserve|not found|Not Found"):
        agent.plc.register_slice(name, owner.identity)


def test_only_agents_register(plc: Running, owner: Certified) -> None:
    for member in (plc.member(Role.SVM).plc, plc.member(Role.NODE).plc, owner.plc):
        refused(partial(member.register_slice, a_name(), owner.identity), Code.NOT_ALLOWED, "not one of those")
        refused(partial(member.release_slice, a_name(), uuid4()), Code.NOT_ALLOWED, "not one of those")


def test_a_delegation_must_be_the_owners_and_for_this_slice(
    plc: Running, agent: Member, owner: Certified, rival: Certified
) -> None:
    name, now = a_name(), plc.central.clock.now().replace(microsecond=0)

    def signed(who: Certified, slice_name: str, kind: DelegationKind) -> str:
        working = Delegation(
            issuer=who.identity,
            svm=Identity(Role.SVM, "lab"),
            slice=slice_name,
            kind=kind,
            jti=secrets.token_hex(8),
            issued_at=now,
            expires_at=now + timedelta(hours=1),
        )
        return sign_delegation(working, who.credentials.key, who.credentials.certificate)

    take = partial(agent.plc.register_slice, name, owner.identity)
    working, standing = DelegationKind.WORKING, DelegationKind.STANDING
    refused(lambda: take(delegation=signed(rival, name, working)), Code.NOT_OWNER, "belongs to")
    refused(lambda: take(delegation=signed(owner, "other", working)), Code.NOT_ALLOWED, "for slice other")
    refused(lambda: take(delegation=signed(owner, name, standing)), Code.NOT_ALLOWED, "does not cover")
    refused(lambda: take(delegation="nonsense"), Code.BAD_INPUT, "delegation")
    take(delegation=signed(owner, name, working))


def test_names_per_user_are_capped_also_when_asked_for_at_once(plc: Running) -> None:
    email, now = plc.person(is_pi=True), plc.central.clock.now()

    def take(number: int) -> bool:
        with plc.central.begin() as connection:
            who = accounts.load(connection, email, lock=True)
            try:
                names.register(connection, f"{name}_{number}", who, "agent", 3, now)
            except Refusal as refusal:
                assert "the most allowed" in refusal.reason  # noqa: PT017 - in a thread
                return False
            return True

    name = a_name()
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8))) == [False] * 5 + [True] * 3
    with plc.central.begin() as connection:
        who = accounts.load(connection, email, lock=True)
        held = names.names_of(connection, who)
        assert len(held) == 3
        slice_id = names.register(connection, held[0], who, "agent", 3, now)
        names.release(connection, held[0], slice_id, "agent", now + timedelta(days=1), now)
        refused(lambda: names.register(connection, a_name(), who, "agent", 3, now), Code.OVER_CAPACITY, "most allowed")
        names.register(connection, a_name(), who, "agent", 3, now + timedelta(days=1, seconds=1))


def test_two_who_want_the_same_name_at_once(plc: Running, owner: Certified, rival: Certified) -> None:
    now = plc.central.clock.now()

    def take(email: str, name: str) -> object:
        with plc.central.begin() as connection:
            who = accounts.load(connection, email, lock=True)
            try:
                return names.register(connection, name, who, "agent", 50, now)
            except Refusal as refusal:
                assert "is taken" in refusal.reason  # noqa: PT017 - in a thread
                return None

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            both = list(pool.map(take, [owner.email, rival.email], [a_name()] * 2))
            assert both.count(None) >= 1 or both == [both[0]] * 2
            assert sum(one is not None for one in both) == 1


def test_the_database_knows_what_a_name_is(plc: Running) -> None:
    email, now = plc.person(is_pi=True), plc.central.clock.now()
    with plc.central.begin() as connection:
        who = accounts.load(connection, email)
    row = {"slice_id": uuid4(), "account_id": who.id, "registered_at": now}
    with pytest.raises(DBAPIError, match="ck_slice_name_name"), plc.central.begin() as connection:
        connection.execute(insert(slice_name).values(name="../x", **row))
