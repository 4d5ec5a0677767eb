"""The registry of slice names: one owner for a name, whichever agents ask for it (docs/protocol.md, "Names")."""

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
from tests.integration.plc.conftest import Certified, Running, refused, register
from trust.documents import DelegationKind
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
    slice_id = register(agent, name, owner)
    assert register(agent, name, owner) == slice_id
    assert register(other_agent, name, owner) == slice_id
    for member in (agent, other_agent):
        refused(partial(register, member, name, rival), Code.NAME_TAKEN, f"{name} is taken")


def test_a_name_is_free_when_every_agent_gave_it_back(
    agent: Member, other_agent: Member, owner: Certified, rival: Certified
) -> None:
    name = a_name()
    slice_id = register(agent, name, owner)
    register(other_agent, name, owner)
    agent.plc.release_slice(name, slice_id)
    agent.plc.release_slice(name, slice_id)
    refused(lambda: register(agent, name, rival), Code.NAME_TAKEN, "taken")
    assert register(agent, name, owner) == slice_id

    agent.plc.release_slice(name, slice_id)
    other_agent.plc.release_slice(name, slice_id)
    next_id = register(agent, name, rival)
    assert next_id != slice_id
    agent.plc.release_slice(name, slice_id)  # said again, late: it is another slice now
    refused(lambda: register(agent, name, owner), Code.NAME_TAKEN, "taken")
    refused(lambda: other_agent.plc.release_slice(name, next_id), Code.NOT_OWNER, "did not register")


def test_a_held_name_is_its_owners_until_the_last_lease_can_have_ended(
    plc: Running, agent: Member, other_agent: Member, owner: Certified, rival: Certified
) -> None:
    name, now = a_name(), plc.central.clock.now()
    slice_id = register(agent, name, owner)
    register(other_agent, name, owner)
    agent.plc.release_slice(name, slice_id, now + timedelta(days=2))
    other_agent.plc.release_slice(name, slice_id, now + timedelta(days=1))
    refused(lambda: register(agent, name, rival), Code.NAME_TAKEN, "taken")

    again = register(agent, name, owner)
    assert again != slice_id
    agent.plc.release_slice(name, again, now + timedelta(days=2))
    with plc.central.begin() as connection:
        who = accounts.load(connection, rival.email, lock=True)
        take = partial(names.register, connection, name, who, "agent", 50)
        refused(lambda: take(now + timedelta(days=1, hours=23)), Code.NAME_TAKEN, "taken")
        assert take(now + timedelta(days=2, seconds=1)) != again


def test_no_agent_holds_a_name_for_longer_than_a_lease(plc: Running, agent: Member, owner: Certified) -> None:
    name = a_name()
    slice_id = register(agent, name, owner)
    far = plc.central.clock.now() + timedelta(days=16)
    refused(lambda: agent.plc.release_slice(name, slice_id, far), Code.BAD_INPUT, "further away than any lease")


def test_who_may_own_slices(plc: Running, agent: Member) -> None:
    plain, gone, lost = plc.certified(), plc.certified(is_pi=True), plc.certified(is_pi=True)
    with plc.central.begin() as connection:
        connection.execute(update(account).where(account.c.email == gone.email).values(state="disabled", reason="left"))
    take = partial(register, agent, a_name())
    refused(lambda: take(plain), Code.NOT_ALLOWED, "is not a PI")
    refused(lambda: take(gone), Code.NOT_ALLOWED, "is disabled (left)")
    with plc.central.begin() as connection:
        connection.execute(update(account).where(account.c.email == lost.email).values(is_pi=False))
    refused(lambda: take(lost), Code.NOT_ALLOWED, "only PIs can have slices")
    signed = lost.delegation("demo", agent.identity)
    refused(lambda: agent.plc.register_slice("demo", agent.identity, signed), Code.BAD_INPUT, "cannot own a slice")


def test_a_plc_that_is_open_to_all(plc: Running) -> None:
    plain = plc.certified()
    with plc.central.begin() as connection:
        who = accounts.load(connection, plain.email)
    accounts.require_may_own_slices(who, plc.settings.model_copy(update={"open": True}))


@pytest.mark.parametrize("name", ["x", "Upper", "root", "has-dash", "a" * 32, "..", "1abc"])
def test_what_is_no_name(agent: Member, owner: Certified, name: str) -> None:
    with pytest.raises(Refusal, match=r"slice name|reserve|not found|Not Found"):
        register(agent, name, owner)


def test_only_agents_register(plc: Running, owner: Certified) -> None:
    for member in (plc.member(Role.SVM).plc, plc.member(Role.NODE).plc, owner.plc):
        take = partial(member.register_slice, a_name(), owner.identity, "")
        refused(take, Code.NOT_ALLOWED, "not one of those")
        refused(partial(member.release_slice, a_name(), uuid4()), Code.NOT_ALLOWED, "not one of those")


def test_a_delegation_must_be_the_owners_and_for_this_slice(
    agent: Member, other_agent: Member, owner: Certified, rival: Certified
) -> None:
    name, svm = a_name(), Identity(Role.SVM, "lab")
    take = partial(agent.plc.register_slice, name, owner.identity)
    standing = owner.delegation(name, svm, DelegationKind.STANDING)
    refused(lambda: take(rival.delegation(name, svm)), Code.NOT_OWNER, "belongs to")
    refused(lambda: take(owner.delegation("other", svm)), Code.NOT_ALLOWED, "for slice other")
    refused(lambda: take(owner.delegation(name, other_agent.identity)), Code.NOT_ALLOWED, "this delegation is for")
    refused(lambda: take(standing), Code.NOT_ALLOWED, "does not cover")
    refused(lambda: take("nonsense"), Code.BAD_INPUT, "delegation")
    take(owner.delegation(name, svm))


def test_an_agent_registers_nothing_that_its_owner_did_not_sign_for(agent: Member, owner: Certified) -> None:
    with agent.plc._connection as connection:
        path, body = f"/slices/{a_name()}", {"owner": owner.identity.uri}
        refused(lambda: connection.call("PUT", path, body), Code.NOT_ALLOWED, "without a delegation that they signed")


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
