"""How services get in with a token, stay in with their certificate, and find each other."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from models.plc import enrolment_token
from plc import ca, directory, enrolment, journal
from plc.accounts import OPERATOR as AS_OPERATOR
from plc.accounts import Actor
from plc.bootstrap import Bootstrap
from plc.client import Keeper, Member
from plc.client.member import KEY_TO_COME, LAST_LIST
from plc.daemon import _addresses
from plc.enrolment import Enrolment
from rpc.credentials import Credentials
from tests.integration.plc.conftest import Running, refused
from trust.actions import Action
from trust.certificates import (
    Authority,
    certificate_from_pem,
    certificate_to_pem,
    fingerprint,
    key_to_pem,
    new_private_key,
    new_request,
)
from trust.clock import SystemClock
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.store import TrustStore

NODE = Identity(Role.NODE, "n1")


@pytest.fixture
def joined() -> Iterator[list[Member]]:
    members: list[Member] = []
    yield members
    for member in members:
        member.close()


def token(plc: Running, role: Role = Role.NODE, name: str = "n1", address: str = "127.0.0.1") -> str:
    return Bootstrap(plc.central).tokens([Enrolment(Identity(role, name), (address,))])[0]


def join(
    plc: Running, directory: Path, secret: str | None, *, clock: SystemClock | None = None, **other: object
) -> Member:
    whole: dict[str, object] = {
        "directory": directory,
        "plc_url": plc.url,
        "role": Role.NODE,
        "name": "n1",
        "token": secret,
        "clock": clock or SystemClock(),
    }
    return Member.join(**{**whole, **other})  # type: ignore[arg-type]


class TestTokens:
    def test_a_token_is_good_once(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        one = token(plc)
        joined.append(join(plc, tmp_path / "a", one, addresses=["127.0.0.1"]))
        refused(lambda: join(plc, tmp_path / "b", one), Code.NOT_AUTHENTICATED, "unknown, used already or older")

    def test_for_an_hour(self, plc: Running, tmp_path: Path) -> None:
        one = token(plc)
        with plc.central.begin() as connection:
            past = plc.central.clock.now() - timedelta(seconds=3601)
            hashed = enrolment._hashed(one.split("-")[3])
            connection.execute(
                update(enrolment_token)
                .where(enrolment_token.c.secret_sha256 == hashed)
                .values(made_at=past, expires_at=past + timedelta(seconds=3600))
            )
        refused(lambda: join(plc, tmp_path / "a", one), Code.NOT_AUTHENTICATED, "older than an hour")

    def test_for_one_service_and_place(self, plc: Running, tmp_path: Path) -> None:
        one = token(plc)
        refused(lambda: join(plc, tmp_path / "a", one, name="n2"), Code.BAD_INPUT, "this token is for")
        refused(lambda: join(plc, tmp_path / "a", one, addresses=["10.0.0.1"]), Code.BAD_INPUT, "not for 10.0.0.1")
        refused(lambda: join(plc, tmp_path / "a", "dslice-node-n1-x"), Code.BAD_INPUT, "not an enrolment token")

    def test_a_refused_enrolment_uses_nothing_up(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        one = token(plc)
        refused(lambda: join(plc, tmp_path / "a", one, addresses=["10.0.0.1"]), Code.BAD_INPUT, "not for 10.0.0.1")
        joined.append(join(plc, tmp_path / "a", one))

    def test_nothing_is_sent_to_another_ca(self, plc: Running, tmp_path: Path) -> None:
        one = token(plc)
        elsewhere = fingerprint(Authority.create(plc.central.clock.now()).certificate)
        wrong = one.rpartition("-")[0] + f"-{elsewhere}"
        refused(lambda: join(plc, tmp_path / "a", wrong), Code.WRONG_CERTIFICATE, "do not trust it")

    def test_a_lost_answer_costs_no_token(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        """The token was used, the certificate never came: the same key gets it again."""
        one, directory, key = token(plc), tmp_path / "a", new_private_key(Role.NODE)
        secret, request = one.split("-")[3], new_request(key, NODE)
        lost = certificate_from_pem(plc.anyone().enrol(secret, request, []))
        directory.mkdir()
        (directory / KEY_TO_COME).write_text(key_to_pem(key))

        member = join(plc, directory, one)
        joined.append(member)

        assert member.credentials.certificate.public_key() == key.public_key()
        assert not (directory / KEY_TO_COME).exists()
        assert lost.serial_number in (plc.store().revocations or pytest.fail("no list")).serials

    def test_who_gets_one(self, plc: Running) -> None:
        now, authority = plc.central.clock.now(), plc.central.authority
        with plc.central.begin() as connection:
            make = partial(enrolment.make_tokens, connection, authority)
            admin = Actor("admin@example.org", is_admin=True)
            place = Enrolment(NODE, ("127.0.0.1",))
            user, itself = Identity.user("a@example.org"), Identity(Role.PLC, "plc")
            refused(lambda: make(admin, [place], now), Code.NOT_ALLOWED, "only the operator")
            refused(lambda: make(AS_OPERATOR, [Enrolment(user, ("x",))], now), Code.BAD_INPUT, "does not enrol")
            refused(lambda: make(AS_OPERATOR, [Enrolment(itself, ("x",))], now), Code.BAD_INPUT, "does not enrol")
            refused(lambda: make(AS_OPERATOR, [Enrolment(NODE, ())], now), Code.BAD_INPUT, "at which addresses")

    def test_a_key_of_the_wrong_type(self, plc: Running) -> None:
        secret = token(plc).split("-")[3]
        refused(lambda: plc.anyone().enrol(secret, new_request(plc.user_key, NODE), []), Code.BAD_INPUT, "needs a key")


class TestMembers:
    def test_the_certificate_is_taken_up_again(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        first = join(plc, tmp_path / "a", token(plc))
        again = join(plc, tmp_path / "a", None)
        joined += [first, again]
        assert again.credentials.certificate == first.credentials.certificate
        assert again.store.revocations is not None
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700

    def test_it_names_the_tokens_addresses(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        made = Bootstrap(plc.central).tokens([Enrolment(Identity(Role.NODE, "n1"), ("127.0.0.9", "n1.example.org"))])
        member = join(plc, tmp_path / "a", made[0], addresses=["127.0.0.9"])
        joined.append(member)
        assert _addresses(member.credentials.certificate) == {"127.0.0.9", "n1.example.org"}
        end = member.credentials.certificate.not_valid_after_utc
        assert end <= plc.central.clock.now() + timedelta(seconds=86_400)

    def test_enrolling_again_revokes_what_was_before(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        lost = join(plc, tmp_path / "a", token(plc))
        joined += [lost, join(plc, tmp_path / "b", token(plc))]
        assert lost.credentials.certificate.serial_number in (plc.store().revocations or pytest.fail("no list")).serials

    def test_many_at_once_without_tokens(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        names = [f"many{number}" for number in range(3)]
        places = {tmp_path / name: Enrolment(Identity(Role.NODE, name), ("127.0.0.1",)) for name in names}
        Bootstrap(plc.central).enrol(places)
        joined += [join(plc, tmp_path / name, None, name=name) for name in names]  # it is as if each had used a token
        assert [_addresses(member.credentials.certificate) for member in joined] == [{"127.0.0.1"}] * 3
        with plc.central.begin() as connection:
            known = {row.name for row in enrolment.services(connection)}
            told = [row.what for row in journal.about(connection, str(joined[0].identity))]
        assert known.issuperset(names)
        assert told == ["enrol"]
        joined[0].renew()

    def test_what_lasts_stays_and_the_rest_is_replaced_and_revoked(self, plc: Running, tmp_path: Path) -> None:
        places = {tmp_path / "a": Enrolment(Identity(Role.NODE, "again"), ("127.0.0.1",))}
        found = []
        for offset in (0, 80_000, 84_000):  # a certificate lives for a day
            later = replace(plc.central, clock=SystemClock(offset=offset))
            Bootstrap(later).enrol(places)
            found.append(Credentials(tmp_path / "a").certificate.serial_number)
        first, kept, last = found
        assert first == kept != last
        assert first in (plc.store().revocations or pytest.fail("no list")).serials

    def test_only_the_operator_does_that(self, plc: Running) -> None:
        with plc.central.begin() as connection, pytest.raises(Refusal) as refusal:
            enrolment.enrol_directly(connection, plc.central.authority, Actor("a@b.c"), [], 60, plc.central.clock.now())
        assert refusal.value.code is Code.NOT_ALLOWED

    def test_without_a_token_there_is_no_way_in(self, plc: Running, tmp_path: Path) -> None:
        refused(lambda: join(plc, tmp_path / "a", None), Code.NOT_AUTHENTICATED, "dslice plc token node n1 ADDRESS")

    def test_nor_back_in_once_the_certificate_has_ended(
        self, plc: Running, tmp_path: Path, joined: list[Member]
    ) -> None:
        joined.append(join(plc, tmp_path / "a", token(plc)))
        later = SystemClock(offset=86_401)
        refused(lambda: join(plc, tmp_path / "a", None, clock=later), Code.NOT_AUTHENTICATED, "dslice plc token")
        back = join(plc, tmp_path / "a", token(plc), clock=later)
        joined.append(back)

    def test_another_services_folder(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        joined.append(join(plc, tmp_path / "a", token(plc)))
        refused(lambda: join(plc, tmp_path / "a", None, name="n2"), Code.BAD_INPUT, "use another folder")

    def test_a_folder_of_a_plc_that_is_no_more(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        now = plc.central.clock.now()
        old, key = Authority.create(now), new_private_key(Role.NODE)
        made = old.issue(NODE, key.public_key(), now=now, lifetime=86_400)
        root = certificate_to_pem(old.certificate)
        Credentials(tmp_path / "a").save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(made), ca_pem=root)
        member = join(plc, tmp_path / "a", token(plc))
        joined.append(member)
        assert member.credentials.root == plc.central.authority.certificate

    def test_plc_may_be_away_when_a_member_starts(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        joined.append(join(plc, tmp_path / "a", token(plc)))
        (tmp_path / "a" / LAST_LIST).unlink()
        away = join(plc, tmp_path / "a", None, plc_url="https://127.0.0.1:1")
        joined.append(away)
        assert away.store.revocations is None
        assert not away.renew_if_due()
        with pytest.raises(Refusal):
            join(plc, tmp_path / "b", token(plc), plc_url="https://127.0.0.1:1")

    def test_it_goes_on_with_the_list_that_it_had_last(
        self, plc: Running, tmp_path: Path, joined: list[Member]
    ) -> None:
        joined.append(join(plc, tmp_path / "a", token(plc)))
        had = joined[0].store.revocations
        away = join(plc, tmp_path / "a", None, plc_url="https://127.0.0.1:1")
        joined.append(away)
        assert away.store.revocations == had
        away.store.require_fresh(Action.CREATE)
        # Its age is the list's own: a restart makes no old list young.
        clock = SystemClock(offset=301)
        late = join(plc, tmp_path / "a", None, plc_url="https://127.0.0.1:1", clock=clock)
        joined.append(late)
        refused(lambda: late.store.require_fresh(Action.CREATE), Code.CRL_STALE, "s old")
        late.store.require_fresh(Action.RENEW)

    @pytest.mark.parametrize("damage", [b"", b"no list", None])
    def test_a_damaged_list_is_as_none(
        self, plc: Running, tmp_path: Path, joined: list[Member], damage: bytes | None
    ) -> None:
        joined.append(join(plc, tmp_path / "a", token(plc)))
        now = plc.central.clock.now()
        path = tmp_path / "a" / LAST_LIST
        path.write_bytes(Authority.create(now).sign_crl([], number=2**40, now=now) if damage is None else damage)
        away = join(plc, tmp_path / "a", None, plc_url="https://127.0.0.1:1")
        joined.append(away)
        assert away.store.revocations is None
        back = join(plc, tmp_path / "a", None)
        joined.append(back)
        assert back.store.revocations is not None
        assert path.read_bytes().startswith(b"-----BEGIN X509 CRL")

    def test_renewal_at_two_thirds_with_the_same_key(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        # A name of its own: so many certificates within an hour as n1 has here are renewed by nobody.
        joined.append(join(plc, tmp_path / "a", token(plc, name="due"), name="due"))
        old = joined[0].credentials.certificate
        assert not joined[0].renew_if_due()
        later = join(plc, tmp_path / "a", None, name="due", clock=SystemClock(offset=57_700))
        joined.append(later)
        called: list[int] = []
        later.on_renew(lambda: called.append(later.credentials.certificate.serial_number))
        assert later.renew_if_due()
        new = later.credentials.certificate
        assert called == [new.serial_number]
        assert new.serial_number != old.serial_number
        assert new.public_key() == old.public_key()
        assert old.serial_number not in (plc.store().revocations or pytest.fail("no list")).serials

    def test_a_keeper_fetches_a_shared_list_once(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        store = TrustStore(plc.central.authority.certificate, SystemClock())
        for number in range(3):
            name = f"s{number}"
            joined.append(join(plc, tmp_path / name, token(plc, name=name), name=name, store=store))
        keeper = Keeper(joined)
        keeper.look()
        assert store.revocations is not None
        assert ["background" in vars(member) for member in joined] == [True, False, False]
        joined[0].start()
        joined[0].stop()

    def test_one_members_trouble_is_not_the_others(
        self, plc: Running, tmp_path: Path, joined: list[Member], caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("a", "b"):
            joined.append(join(plc, tmp_path / name, token(plc, name=name), name=name))
        shutil.rmtree(tmp_path / "a")
        (tmp_path / "a").write_text("no folder any more")
        Keeper(joined).look()
        assert "cannot look after spiffe://planet-lab/node/a" in caplog.text
        assert "cannot look after spiffe://planet-lab/node/b" not in caplog.text

    def test_a_renewal_that_fails_is_tried_again(
        self, plc: Running, tmp_path: Path, joined: list[Member], caplog: pytest.LogCaptureFixture
    ) -> None:
        joined.append(join(plc, tmp_path / "a", token(plc)))
        away = join(plc, tmp_path / "a", None, clock=SystemClock(offset=57_700), plc_url="https://127.0.0.1:1")
        joined.append(away)
        assert not away.renew_if_due()
        assert "is not renewed" in caplog.text

    def test_revoked_services_are_out(self, plc: Running, tmp_path: Path, joined: list[Member]) -> None:
        member = join(plc, tmp_path / "a", token(plc, Role.AGENT, "gone"), role=Role.AGENT, name="gone")
        joined.append(member)
        with plc.central.begin() as connection:
            ca.revoke(connection, member.identity, "stolen", plc.central.clock.now())
        refused(lambda: member.announce("https://127.0.0.1:1"), Code.REVOKED, "revoked")
        refused(member.renew, Code.REVOKED, "revoked")
        with plc.central.begin() as connection:
            key, now = new_private_key(Role.AGENT).public_key(), plc.central.clock.now()
            serial = member.credentials.certificate.serial_number
            renew = partial(enrolment.renew_service, connection, plc.central.authority)
            refused(lambda: renew(member.identity, serial, key, 60, now), Code.REVOKED, "revoked")
            ghost = Identity(Role.AGENT, "ghost")
            refused(lambda: renew(ghost, 1, key, 60, now), Code.NOT_FOUND, "is not enrolled")


class TestDirectory:
    def test_services_are_found_where_they_announced_themselves(self, plc: Running) -> None:
        agent, svm = plc.member(Role.AGENT, "princeton"), plc.member(Role.SVM, "lab")
        agent.announce("https://127.0.0.1:4001")
        svm.announce("https://127.0.0.1:4002")

        found = plc.anyone().directory()

        urls = [(entry.identity, entry.url) for entry in found.agents if entry.name == "princeton"]
        assert urls == [(agent.identity, "https://127.0.0.1:4001")]
        assert (found.svmd, found.svm) == ("https://127.0.0.1:4002", svm.identity)
        assert found.ca_fingerprint == plc.ca_fingerprint

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("https://10.1.1.1:4001", "not at 10.1.1.1"),
            ("http://127.0.0.1:4001", "not an address like"),
            ("https://127.0.0.1", "not an address like"),
            ("https://127.0.0.1:4001/path", "not an address like"),
            ("https://127.0.0.1:4001?q", "not an address like"),
            ("https://127.0.0.1:99999", "not an address like"),
            ("https://me@127.0.0.1:1", "not an address like"),
            ("https://:1", "not an address like"),
        ],
    )
    def test_only_where_they_are_enrolled(self, plc: Running, url: str, words: str) -> None:
        agent = plc.opened_agent
        refused(lambda: agent.announce(url), Code.BAD_INPUT, words)

    def test_a_service_that_is_not_enrolled(self, plc: Running) -> None:
        ghost = Identity(Role.AGENT, "ghost")
        with plc.central.begin() as connection:
            announce = partial(directory.announce, connection, ghost, "https://127.0.0.1:1", plc.central.clock.now())
            refused(announce, Code.NOT_FOUND, "is not enrolled")

    def test_nodes_do_not_announce_themselves(self, plc: Running) -> None:
        node = plc.member(Role.NODE)
        refused(lambda: node.announce("https://127.0.0.1:4001"), Code.NOT_ALLOWED, "not one of those")
