"""The operator's hand at plc: who may what, what is written down, who is told; and who heeds it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete

from models.plc import drain, removal
from plc import deactivation, journal, nodes, removals
from plc.accounts import OPERATOR, load
from plc.client import PLC, Member, Plc
from plc.client.orders import Drain
from plc.nodes import forget_drains
from plc.removals import forget_removals
from rpc.credentials import Credentials
from tests.integration.plc.conftest import Certified, Running, refused, register
from trust.certificates import new_request
from trust.errors import Code
from trust.identity import Identity, Role
from trust.orders import Signer, new_order, sign_order, verify_order

SLICE = uuid4()


@pytest.fixture(autouse=True)
def _as_it_was(plc: Running) -> Iterator[None]:
    yield
    with plc.central.begin() as connection:
        connection.execute(delete(drain))
        connection.execute(delete(removal))


@pytest.fixture
def admin(plc: Running) -> Certified:
    return plc.certified(is_admin=True)


@pytest.fixture
def node(plc: Running) -> Member:
    return plc.member(Role.NODE)


@pytest.fixture
def here(plc: Running) -> Plc:
    """plc's own machine: its certificate."""
    return plc._kept(Plc(plc.url, Credentials(plc.settings.state_dir)))


def order(who: Certified, name: str, slice_id: UUID, node: Identity | None = None) -> tuple[str, str]:
    """(id, signed) of one that this user signs."""
    certificate = who.credentials.certificate
    now, end = certificate.not_valid_before_utc + timedelta(seconds=60), certificate.not_valid_after_utc
    made = new_order(who.identity, node, name, slice_id, "abuse", now, end)
    return made.jti, sign_order(made, who.credentials.key, certificate)


def told_of(plc: Running, whom: str) -> list[tuple[str, str, str]]:
    with plc.central.begin() as connection:
        return [(one.who, one.what, one.detail) for one in journal.about(connection, whom)]


def changes(plc: Plc, node: str, orders: list[str]) -> dict[str, Callable[[], object]]:
    """Everything that the operator may do."""
    return {
        "nodes": plc.nodes,
        "drain": lambda: plc.drain(node, "new disk", None, renews=True, tell={}),
        "undrain": lambda: plc.undrain(node),
        "retire": lambda: plc.retire(node, "broken"),
        "order": lambda: plc.order(orders),
        "obeyed": lambda: plc.obeyed([]),
    }


def test_nobody_else_may_any_of_it(plc: Running, node: Member, admin: Certified) -> None:
    """The owner, a PI and each service: all are refused by their role or by their account, and nothing has changed."""
    name = node.identity.name
    _, token = order(admin, "theirs", SLICE)
    others = {"pi": plc.certified(is_pi=True).plc, "user": plc.certified().plc, "node": node.plc}
    others |= {role: plc.member(role).plc for role in (Role.AGENT, Role.SVM)}
    for who, client in others.items():
        for what, call in changes(client, name, [token]).items():
            try:
                refused(call, Code.NOT_ALLOWED, "")
            except BaseException as error:
                raise AssertionError(f"{who} {what}") from error
    for call in changes(plc.anyone(), name, [token]).values():
        refused(call, Code.NOT_AUTHENTICATED, "")
    assert [one.drain for one in admin.plc.nodes() if one.name == name] == [None]
    assert told_of(plc, node.identity.uri) == [
        ("operator", "token", "127.0.0.1"),
        (node.identity.uri, "enrol", "127.0.0.1"),
    ]


def test_a_drain_is_told_to_those_who_heed_it_and_to_owners(plc: Running, node: Member, admin: Certified) -> None:
    owner, name = plc.person(), node.identity.name
    known = node.plc.orders()
    assert known is not None
    assert known.drains == {}
    assert node.plc.orders(known.tag) is None
    until = plc.central.clock.now().replace(microsecond=0) + timedelta(days=2)
    tell = {owner: ["alpha", "beta"], "nobody@example.org": ["gamma"]}
    admin.plc.drain(name, "new\n disk", until, renews=False, tell=tell)
    for heeding in (node, plc.opened_agent):
        heard = heeding.plc.orders(known.tag)
        assert heard is not None
        found = heard.drains[name]
        assert (found.reason, found.renews, found.until) == ("new disk", False, until)
    (enrolled,) = [one for one in admin.plc.nodes() if one.name == name]
    assert (enrolled.who, enrolled.drain) == (admin.email, found)
    letter = plc.mailbox.wait_for(owner, f"Node {name} takes no new slivers")
    assert "alpha, beta" in str(letter)
    assert "cannot be renewed" in str(letter)
    admin.plc.undrain(name)
    admin.plc.undrain(name)
    heard = node.plc.orders()
    assert heard is not None
    assert heard.drains == {}
    done = [line for line in told_of(plc, node.identity.uri) if line[0] == admin.email]
    assert [what for _, what, _ in done] == ["drain", "undrain"]
    assert done[0][2].startswith("new disk until ")


def test_a_drain_that_has_slices_move(plc: Running, node: Member, admin: Certified) -> None:
    owner, name = plc.certified(is_pi=True).email, node.identity.name
    admin.plc.drain(name, "new disk", None, renews=True, tell={owner: ["alpha"]}, replaces=True)
    heard = node.plc.orders()
    assert heard is not None
    assert heard.drains[name] == Drain(name, "new disk", True, None, replaces=True)
    (enrolled,) = [one for one in admin.plc.nodes() if one.name == name]
    assert enrolled.drain == heard.drains[name]
    letter = str(plc.mailbox.wait_for(owner, f"Node {name} takes no new slivers"))
    assert "svm heal alpha on" in letter
    assert told_of(plc, node.identity.uri)[-1][2] == "new disk, others in its place"
    admin.plc.undrain(name)


def test_what_an_older_plc_says_of_a_drain_is_read() -> None:
    body = {"node": "n1", "reason": "new disk", "renews": True, "until": None}
    assert Drain.from_json(body) == Drain("n1", "new disk", True, None)


def test_a_drain_ends_by_itself(plc: Running, node: Member) -> None:
    now = plc.central.clock.now()
    wish = nodes.Wish(node.identity, "new disk", now + timedelta(hours=1), True, {})
    with plc.central.begin() as connection:
        nodes.drain(connection, OPERATOR, wish, now)
        later = now + timedelta(hours=2)
        assert nodes.drains(connection, later) == []
        forget_drains(connection, later)
        assert nodes.drains(connection, now) == []


def test_what_cannot_be_drained(plc: Running, node: Member, admin: Certified) -> None:
    past = plc.central.clock.now() - timedelta(minutes=1)
    drain_it = admin.plc.drain
    refused(lambda: drain_it("nowhere", "x", None, renews=True, tell={}), Code.NOT_FOUND, "dslice nodes lists them")
    refused(lambda: drain_it(node.identity.name, " ", None, renews=True, tell={}), Code.BAD_INPUT, "say why")
    refused(lambda: drain_it(node.identity.name, "x", past, renews=True, tell={}), Code.BAD_INPUT, "in the past")


def test_an_order_reaches_its_node_and_no_other(plc: Running, node: Member, admin: Certified) -> None:
    owner, other = plc.certified(is_pi=True), plc.member(Role.NODE)
    slice_id = register(plc.opened_agent, "evicted", owner)
    jti, token = order(admin, "evicted", slice_id, node.identity)
    admin.plc.order([token])
    admin.plc.order([token])
    heard = node.plc.orders()
    assert heard is not None
    (ordered,) = heard.removals
    found = verify_order(ordered.token, ordered.signer, plc.store())
    assert (found.jti, found.slice_id, ordered.signer, ordered.done) == (jti, slice_id, Signer.ADMIN, False)
    for heeding, told in ((other, 0), (plc.opened_agent, 0)):
        heard = heeding.plc.orders()
        assert heard is not None
        assert len(heard.removals) == told
    everyones = other.plc.orders(everyones=True)
    assert everyones is not None
    assert len(everyones.removals) == 1

    assert admin.plc.obeyed([jti]) == {jti: False}
    other.plc.say_done([jti])
    assert admin.plc.obeyed([jti]) == {jti: False}
    node.plc.say_done([jti])
    node.plc.say_done([jti])
    assert admin.plc.obeyed([jti]) == {jti: True}
    heard = node.plc.orders()
    assert heard is not None
    assert [one.done for one in heard.removals] == [True]  # for a day: the node tells svmd why

    letter = plc.mailbox.wait_for(owner.email, "evicted: slivers removed by the operator")
    assert "abuse" in str(letter)
    assert told_of(plc, owner.email)[-1] == (admin.email, "evict", f"evicted on {node.identity.name}: abuse")
    with plc.central.begin() as connection:
        assert len([one for one in removals.listed(connection, None, plc.central.clock.now()) if one.jti == jti]) == 1
        forget_removals(connection, plc.central.clock.now() + timedelta(days=2))
        assert [one for one in removals.listed(connection, None, plc.central.clock.now()) if one.jti == jti] == []


def test_a_deleted_slice_gives_its_name_back(plc: Running, admin: Certified) -> None:
    owner, other = plc.certified(is_pi=True), plc.certified(is_pi=True)
    slice_id = register(plc.opened_agent, "unwanted", owner)
    refused(
        lambda: admin.plc.order([order(admin, "unwanted", slice_id, Identity(Role.NODE, "n1"))[1]], free=True),
        Code.BAD_INPUT,
        "on every node",
    )
    admin.plc.order([order(admin, "unwanted", slice_id)[1]], free=True)
    plc.mailbox.wait_for(owner.email, "unwanted: deleted by the operator")
    refused(lambda: register(plc.opened_agent, "unwanted", other), Code.NAME_TAKEN, "taken")
    assert register(plc.opened_agent, "unwanted", owner) != slice_id


def test_an_order_counts_from_its_signer_only(plc: Running, admin: Certified, here: Plc) -> None:
    other, owner = plc.certified(is_admin=True), plc.certified(is_pi=True)
    mine, theirs = order(admin, "some", SLICE)[1], order(other, "some", SLICE)[1]
    refused(lambda: admin.plc.order([theirs]), Code.NOT_ALLOWED, "not by you")
    refused(lambda: admin.plc.order([order(owner, "some", SLICE)[1]]), Code.NOT_ALLOWED, "is not an admin")
    refused(lambda: admin.plc.order([mine, order(admin, "another", SLICE)[1]]), Code.BAD_INPUT, "several slices")
    refused(lambda: admin.plc.order(["nonsense"]), Code.BAD_INPUT, "")
    refused(lambda: here.order([mine]), Code.BAD_INPUT, "")


def test_at_plcs_machine_the_operator_signs_with_the_ca(plc: Running, node: Member, here: Plc) -> None:
    authority, now = plc.central.authority, plc.central.clock.now()
    made = new_order(PLC, node.identity, "orphaned", SLICE, "after the restore", now, now + timedelta(days=30))
    here.order([sign_order(made, authority.key, None)])
    heard = node.plc.orders()
    assert heard is not None
    (ordered,) = heard.removals
    assert verify_order(ordered.token, ordered.signer, plc.store()) == made
    assert told_of(plc, "orphaned") == [("operator", "evict", f"orphaned on {node.identity.name}: after the restore")]


def test_at_plcs_machine_the_operator_sees_all_accounts(plc: Running, here: Plc) -> None:
    email = plc.person()
    assert email in {user.email for user in here.users()}


def test_a_node_is_retired_once_it_is_drained(plc: Running, node: Member, admin: Certified) -> None:
    name = node.identity.name
    refused(lambda: admin.plc.retire(name, "broken"), Code.BUSY, "first dslice node drain")
    admin.plc.drain(name, "broken", None, renews=False, tell={})
    admin.plc.retire(name, "broken")
    assert name not in {one.name for one in admin.plc.nodes()}
    refused(node.plc.orders, Code.REVOKED, "revoked")
    refused(lambda: admin.plc.retire(name, "broken"), Code.NOT_FOUND, "no node")
    assert [line[1] for line in told_of(plc, node.identity.uri)][-2:] == ["drain", "retire"]


def test_an_admins_certificate_says_so_until_he_is_none(plc: Running) -> None:
    who = plc.certified()
    assert not plc.store().peer(who.credentials.certificate, {Role.USER}).admin
    with plc.central.begin() as connection:
        deactivation.set_admin(connection, OPERATOR, who.email, True, plc.central.clock.now())
    pem = who.plc.renew_certificate(new_request(plc.user_key, who.identity))
    who.credentials.save(certificate_pem=pem)
    who.plc.reload()
    assert plc.store().peer(who.credentials.certificate, {Role.USER}).admin
    who.plc.nodes()
    with plc.central.begin() as connection:
        deactivation.set_admin(connection, OPERATOR, who.email, False, plc.central.clock.now())
        assert not load(connection, who.email).is_admin
    refused(who.plc.nodes, Code.REVOKED, "revoked")
