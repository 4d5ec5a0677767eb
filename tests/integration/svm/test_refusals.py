"""Who and what svmd refuses, each on its own, over real TLS."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from models.database import engine
from rpc.credentials import Credentials
from svm.flags import Flags
from svm.request import Request
from svm.slicefile import SliceFile
from testbed.embedded import Postgres
from tests.integration.svm.conftest import DAY, SVM, Lab, Running, running
from trust.certificates import Authority
from trust.documents import Delegation, DelegationKind, sign_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

FILE = SliceFile("demo", 2, 3600)


# One svmd for all: what is refused leaves nothing behind, and slices that are made have names of their own.
@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def svmd(lab: Lab, postgres: Postgres, svm_tables: str) -> Iterator[Running]:
    postgres.create_database("svm_refusals", template=svm_tables)
    database = engine(postgres.url("svm", "svm_refusals"))
    with running(lab, database) as found:
        yield found
    database.dispose()
    postgres.drop_database("svm_refusals")


def delegation(
    lab: Lab,
    signer: Credentials,
    *,
    name: str = "demo",
    kind: DelegationKind = DelegationKind.WORKING,
    svm: Identity = SVM,
    age: int = 0,
    heal: bool = False,
) -> str:
    now = lab.clock.now().replace(microsecond=0) - timedelta(seconds=age)
    wanted = Delegation(signer.identity, svm, name, kind, str(uuid4()), now, now + timedelta(hours=1), heal)
    return sign_delegation(wanted, signer.key, signer.certificate)


def post(svmd: Running, credentials: Credentials | None, body: dict[str, object], **headers: str) -> dict[str, object]:
    with svmd.connection(credentials) as connection:
        reply = connection.call("POST", "/operations", json=body, headers=headers)
    assert isinstance(reply.body, dict)
    return reply.body


def create(
    svmd: Running, credentials: Credentials | None, token: str | None = None, *, name: str = "demo", **changes: object
) -> str:
    """Ask for a slice; its operation."""
    body = Request("createslice", name, file=FILE).to_json(Flags(), None) | changes
    if token is None and credentials is not None:
        token = delegation(svmd.lab, credentials, name=name)
    return str(post(svmd, credentials, body, **({"Dslice-Delegation": token} if token else {}))["operation"])


def code_of(act: object, *arguments: object, **named: object) -> Code:
    assert callable(act)
    with pytest.raises(Refusal) as caught:
        act(*arguments, **named)
    return caught.value.code


class TestWho:
    def test_a_pi_may(self, svmd: Running, lab: Lab) -> None:
        create(svmd, lab.user(), name="may")

    def test_no_certificate(self, svmd: Running) -> None:
        assert code_of(create, svmd, None) is Code.NOT_AUTHENTICATED

    def test_another_cas_certificate(self, svmd: Running, lab: Lab) -> None:
        stranger = Authority.create(lab.clock.now())
        intruder = lab.credentials(Identity.user("pi@a.example"), pi=True, authority=stranger)
        assert code_of(create, svmd, intruder) is Code.NOT_AUTHENTICATED

    def test_an_expired_certificate(self, svmd: Running, lab: Lab) -> None:
        before = lab.clock.now() - timedelta(days=2)
        late = lab.credentials(Identity.user("pi@a.example"), pi=True, started=before, lifetime=DAY)
        assert code_of(create, svmd, late) is Code.NOT_AUTHENTICATED

    def test_a_revoked_certificate(self, svmd: Running, lab: Lab) -> None:
        revoked = lab.user()
        lab.revoke(revoked.certificate)
        assert code_of(create, svmd, revoked) is Code.REVOKED

    def test_a_user_who_is_no_pi(self, svmd: Running, lab: Lab) -> None:
        assert code_of(create, svmd, lab.user("user@a.example", pi=False)) is Code.NOT_ALLOWED

    def test_no_pi_may_clean_either(self, svmd: Running, lab: Lab) -> None:
        assert code_of(post, svmd, lab.user("user@a.example", pi=False), {"verb": "clean"}) is Code.NOT_ALLOWED

    @pytest.mark.parametrize("role", [Role.NODE, Role.AGENT, Role.SVM, Role.PLC])
    def test_services_are_no_users(self, svmd: Running, lab: Lab, role: Role) -> None:
        service = lab.credentials(Identity(role, "x"))
        with svmd.connection(service) as connection:
            for method, path in (
                ("POST", "/operations"),
                ("GET", "/slices"),
                ("GET", "/slices/demo"),
                ("GET", "/slices/demo/history"),
                ("GET", f"/operations/{uuid4()}"),
                ("DELETE", f"/operations/{uuid4()}"),
                ("GET", f"/operations/{uuid4()}/events"),
                ("GET", "/ads"),
                ("POST", "/plans"),
            ):
                assert code_of(connection.call, method, path, json={}) is Code.NOT_ALLOWED

    def test_healthz_is_open(self, svmd: Running) -> None:
        with svmd.connection(svmd.lab.user()) as connection:
            assert connection.call("GET", "/healthz").body == {"status": "ok"}

    def test_an_old_revocation_list(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        create(svmd, pi, name="stale")
        object.__setattr__(lab.clock, "offset", 400)
        try:
            later = delegation(lab, pi, name="stale")
            assert code_of(create, svmd, pi, later, name="stale") is Code.CRL_STALE
            body: dict[str, object] = {"verb": "deleteslice", "slice": "stale"}
            post(svmd, pi, body, **{"Dslice-Delegation": later})
        finally:
            object.__setattr__(lab.clock, "offset", 0)


class TestDelegations:
    def test_none(self, svmd: Running, lab: Lab) -> None:
        body = Request("createslice", "demo", file=FILE).to_json(Flags(), None)
        assert code_of(post, svmd, lab.user(), body) is Code.NOT_ALLOWED

    def test_garbage(self, svmd: Running, lab: Lab) -> None:
        assert code_of(create, svmd, lab.user(), "a.b.c") is Code.BAD_INPUT

    def test_another_users(self, svmd: Running, lab: Lab) -> None:
        other = delegation(lab, lab.user("other@b.example"))
        assert code_of(create, svmd, lab.user(), other) is Code.NOT_ALLOWED

    def test_for_another_svm(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        token = delegation(lab, pi, svm=Identity(Role.SVM, "elsewhere"))
        assert code_of(create, svmd, pi, token) is Code.NOT_ALLOWED

    def test_for_another_slice(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        assert code_of(create, svmd, pi, delegation(lab, pi, name="other")) is Code.NOT_ALLOWED

    def test_standing_where_working_is_needed(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        assert code_of(create, svmd, pi, delegation(lab, pi, kind=DelegationKind.STANDING)) is Code.NOT_ALLOWED

    def test_more_than_five_minutes_old(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        assert code_of(create, svmd, pi, delegation(lab, pi, age=310)) is Code.NOT_ALLOWED
        create(svmd, pi, delegation(lab, pi, age=200, name="fresh"), name="fresh")

    def test_working_where_standing_is_needed(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        create(svmd, pi, name="away")
        body: dict[str, object] = {"verb": "delegate", "slice": "away", "standing": delegation(lab, pi, name="away")}
        assert code_of(post, svmd, pi, body) is Code.NOT_ALLOWED

    def test_another_users_standing_one(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        other = delegation(lab, lab.user("other@b.example"), kind=DelegationKind.STANDING)
        assert code_of(post, svmd, pi, {"verb": "delegate", "slice": "demo", "standing": other}) is Code.NOT_ALLOWED

    def test_heal_needs_one_that_covers_it(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        create(svmd, pi, name="healed")
        body: dict[str, object] = {"verb": "heal", "slice": "healed", "heal": True}
        body["standing"] = delegation(lab, pi, name="healed", kind=DelegationKind.STANDING)
        assert code_of(post, svmd, pi, body) is Code.NOT_ALLOWED
        body["standing"] = delegation(lab, pi, name="healed", kind=DelegationKind.STANDING, heal=True)
        post(svmd, pi, body)


@pytest.fixture(scope="module")
def operation(svmd: Running, lab: Lab) -> str:
    """What somebody else asked for."""
    return create(svmd, lab.user("owner@a.example"), name="anothers")


class TestAnothersSlice:
    def test_reads(self, svmd: Running, lab: Lab, operation: str) -> None:
        with svmd.connection(lab.user("other@b.example")) as connection:
            assert code_of(connection.call, "GET", "/slices/anothers") is Code.NOT_OWNER
            assert code_of(connection.call, "GET", "/slices/anothers/history") is Code.NOT_OWNER
            assert code_of(connection.call, "GET", f"/operations/{operation}") is Code.NOT_OWNER
            assert code_of(connection.call, "DELETE", f"/operations/{operation}") is Code.NOT_OWNER
            assert code_of(lambda: list(connection.stream(f"/operations/{operation}/events"))) is Code.NOT_OWNER
            assert connection.call("GET", "/slices").body == {"slices": []}

    @pytest.mark.parametrize("verb", ["renewslice", "deleteslice", "nukekeys", "newleases", "newvms"])
    def test_changes(self, svmd: Running, lab: Lab, operation: str, verb: str) -> None:
        del operation
        other = lab.user("other@b.example")
        headers = {"Dslice-Delegation": delegation(lab, other, name="anothers")}
        assert code_of(post, svmd, other, {"verb": verb, "slice": "anothers"}, **headers) is Code.NOT_OWNER

    def test_its_name_is_taken(self, svmd: Running, lab: Lab, operation: str) -> None:
        del operation
        assert code_of(create, svmd, lab.user("other@b.example"), name="anothers") is Code.NAME_TAKEN

    def test_no_pi_cancels(self, svmd: Running, lab: Lab, operation: str) -> None:
        with svmd.connection(lab.user("owner@a.example", pi=False)) as connection:
            assert code_of(connection.call, "DELETE", f"/operations/{operation}") is Code.NOT_ALLOWED


class TestBodies:
    @pytest.mark.parametrize(
        "changes",
        [
            {"verb": "frobnicate"},
            {"verb": "sweep"},
            {"verb": "reconcile"},
            {"color": "red"},
            {"slice": ""},
            {"slice": "../x"},
            {"slice": "root"},
            {"slice": None},
            {"spec": None},
            {"spec": {"numnodes": 0, "leaselen": 1}},
            {"spec": {"numnodes": -1, "leaselen": 1}},
            {"spec": {"numnodes": 10**9, "leaselen": 1}},
            {"spec": {"numnodes": "2", "leaselen": 1}},
            {"spec": {"numnodes": 2, "leaselen": 0}},
            {"spec": {"numnodes": 2, "leaselen": 1_209_601}},
            {"spec": {"numnodes": 2, "leaselen": 1, "ips": ["n1", "n2"]}},
            {"spec": {"numnodes": 2, "leaselen": 1, "ips": ["1.2.3.4"]}},
            {"spec": {"numnodes": 1, "leaselen": 1, "ips": ["1.2.3.4", "1.2.3.4"]}},
            {"spec": {"numnodes": 2, "leaselen": 1, "color": "red"}},
            {"nodes": ["1.2.3.4"]},
            {"keys": ["ssh-ed25519 AAAA"]},
            {"parallelism": 0},
            {"parallelism": 2000},
            {"connect_timeout": 0},
            {"autorenew": True},
            {"until": "2099-01-01T00:00:00+00:00"},
            {"heal": True},
            {"standing": "a.b.c"},
            {"agents": ["x"] * 17},
        ],
    )
    def test_createslice(self, svmd: Running, lab: Lab, changes: dict[str, object]) -> None:
        assert code_of(create, svmd, lab.user(), **changes) is Code.BAD_INPUT

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"verb": "clean", "slice": "demo"},
            {"verb": "addkey", "slice": "demo"},
            {"verb": "addkey", "slice": "demo", "keys": ["not a key"]},
            {"verb": "nukekeys", "slice": "demo", "agents": ["a"]},
            {"verb": "renewslice", "slice": "demo", "spec": {"numnodes": 1, "leaselen": 1}},
            {"verb": "renewslice", "slice": "demo", "nodes": ["1.2.3.4"]},
            {"verb": "renewslice", "slice": "demo", "replace": True},
            {"verb": "renewslice", "slice": "demo", "autorenew": False},
            {"verb": "newleases", "slice": "demo", "nodes": ["n1"]},
            {"verb": "autorenew", "slice": "demo"},
            {"verb": "autorenew", "slice": "demo", "autorenew": True},
            {"verb": "autorenew", "slice": "demo", "autorenew": False, "until": "2099-01-01T00:00:00+00:00"},
            {"verb": "heal", "slice": "demo"},
            {"verb": "heal", "slice": "demo", "heal": True},
            {"verb": "delegate", "slice": "demo"},
            {"verb": "undelegate", "slice": "demo", "heal": False},
        ],
    )
    def test_other_verbs(self, svmd: Running, lab: Lab, body: dict[str, object]) -> None:
        pi = lab.user()
        headers = {"Dslice-Delegation": delegation(lab, pi)}
        assert code_of(post, svmd, pi, body, **headers) is Code.BAD_INPUT

    def test_an_until_in_the_past(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        create(svmd, pi, name="until")
        body: dict[str, object] = {"verb": "autorenew", "slice": "until", "autorenew": True}
        body["standing"] = delegation(lab, pi, name="until", kind=DelegationKind.STANDING)
        assert code_of(post, svmd, pi, body | {"until": "2020-01-01T00:00:00+00:00"}) is Code.BAD_INPUT
        post(svmd, pi, body)

    def test_an_agent_that_plc_does_not_know_is_never_asked(self, svmd: Running, lab: Lab) -> None:
        assert code_of(create, svmd, lab.user(), agents=["https://evil.example"]) is Code.NOT_FOUND

    def test_an_idempotency_key_of_strange_characters(self, svmd: Running, lab: Lab) -> None:
        assert code_of(post, svmd, lab.user(), {"verb": "clean"}, **{"Idempotency-Key": "a b"}) is Code.BAD_INPUT

    def test_reads_of_what_is_not_there(self, svmd: Running, lab: Lab) -> None:
        with svmd.connection(lab.user()) as connection:
            assert code_of(connection.call, "GET", "/slices/none") is Code.NOT_FOUND
            assert code_of(connection.call, "GET", "/slices/none/history") is Code.NOT_FOUND
            assert code_of(connection.call, "GET", "/slices/No%20Name") is Code.BAD_INPUT
            assert code_of(connection.call, "GET", f"/operations/{uuid4()}") is Code.NOT_FOUND
            assert code_of(connection.call, "GET", "/operations/nonsense") is Code.BAD_INPUT
            assert code_of(connection.call, "DELETE", f"/operations/{uuid4()}") is Code.NOT_FOUND

    def test_an_unknown_slice(self, svmd: Running, lab: Lab) -> None:
        pi = lab.user()
        headers = {"Dslice-Delegation": delegation(lab, pi, name="nothere")}
        assert code_of(post, svmd, pi, {"verb": "renewslice", "slice": "nothere"}, **headers) is Code.NOT_FOUND
