import contextlib
import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.unit.trust import factories as make
from tests.unit.trust.factories import NOW, USER, StillClock
from trust.actions import Action
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.store import TrustStore

ROOT = make.authority().certificate
CHANGES = [Action.CREATE, Action.ACCESS]
ALWAYS = [Action.DELETE, Action.REMOVE_KEYS, Action.READ, None]


def crl(number: int, *serials: int) -> bytes:
    return make.authority().sign_crl([(serial, NOW) for serial in serials], number=number, now=NOW)


def test_a_store_starts_without_a_list() -> None:
    assert TrustStore(ROOT, StillClock()).revocations is None


def test_a_newer_list_replaces_the_known_one() -> None:
    store = TrustStore(ROOT, StillClock())
    store.update(crl(1, 5))
    newest = store.update(crl(2, 5, 6))
    assert newest.number == 2
    assert store.revocations == newest


def test_the_same_list_again_changes_nothing() -> None:
    store = TrustStore(ROOT, StillClock())
    first = store.update(crl(1, 5))
    assert store.update(crl(1, 5)) is first
    assert store.update(crl(1)) is first


def test_an_older_list_is_refused_and_the_newer_kept() -> None:
    store = TrustStore(ROOT, StillClock())
    store.update(crl(2, 5))
    with pytest.raises(Refusal) as refusal:
        store.update(crl(1))
    assert refusal.value.code is Code.BAD_INPUT
    assert store.revocations is not None
    assert store.revocations.serials == {5}


def test_a_list_of_another_ca_is_refused_and_the_known_kept() -> None:
    store = TrustStore(ROOT, StillClock())
    store.update(crl(1, 5))
    with pytest.raises(Refusal) as refusal:
        store.update(make.authority(1).sign_crl([], number=2, now=NOW))
    assert refusal.value.code is Code.NOT_AUTHENTICATED
    assert store.revocations is not None
    assert store.revocations.number == 1


def test_a_peer_is_verified_by_root_clock_and_list() -> None:
    certificate = make.certificate_of(USER, lifetime=100)
    clock = StillClock()
    store = TrustStore(ROOT, clock)
    assert store.peer(make.der(certificate), {Role.USER}).identity == USER
    with pytest.raises(Refusal) as refusal:
        store.peer(certificate, {Role.NODE})
    assert refusal.value.code is Code.NOT_ALLOWED
    store.update(crl(1, certificate.serial_number))
    with pytest.raises(Refusal) as refusal:
        store.peer(certificate, {Role.USER})
    assert refusal.value.code is Code.REVOKED
    clock.forward(101)
    with pytest.raises(Refusal) as refusal:
        store.peer(certificate, {Role.USER})
    assert refusal.value.code is Code.NOT_AUTHENTICATED


def test_a_store_of_another_root_takes_nobody() -> None:
    with pytest.raises(Refusal) as refusal:
        TrustStore(make.authority(1).certificate, StillClock()).peer(make.certificate_of(USER), set(Role))
    assert refusal.value.code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize("action", [*CHANGES, Action.RENEW])
def test_without_a_list_changes_are_refused(action: Action) -> None:
    with pytest.raises(Refusal) as refusal:
        TrustStore(ROOT, StillClock()).require_fresh(action)
    assert refusal.value.code is Code.CRL_STALE


@pytest.mark.parametrize("action", ALWAYS)
def test_what_ends_access_or_changes_nothing_needs_no_list(action: Action | None) -> None:
    TrustStore(ROOT, StillClock()).require_fresh(action)
    clock = StillClock()
    store = make.store_of(clock=clock)
    clock.forward(make.DAY)
    store.require_fresh(action)


@pytest.mark.parametrize(("action", "greatest"), [*((action, 300) for action in CHANGES), (Action.RENEW, 3600)])
def test_a_list_too_old_for_an_action_refuses_it(action: Action, greatest: int) -> None:
    clock = StillClock()
    store = make.store_of(clock=clock)
    store.require_fresh(action)
    clock.forward(greatest)
    store.require_fresh(action)
    clock.forward(1)
    with pytest.raises(Refusal) as refusal:
        store.require_fresh(action)
    assert refusal.value.code is Code.CRL_STALE
    assert refusal.value.detail == {"age": greatest + 1}


def test_every_action_has_its_age() -> None:
    assert {action for action in Action if action.greatest_crl_age is None} == {*ALWAYS} - {None}


def test_many_threads_leave_the_highest_number() -> None:
    store = TrustStore(ROOT, StillClock())
    lists = [crl(number) for number in range(1, 25)]

    def offer(part: list[bytes]) -> None:
        for pem in part:
            with contextlib.suppress(Refusal):
                store.update(pem)

    threads = [threading.Thread(target=offer, args=(lists[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.revocations is not None
    assert store.revocations.number == 24
    assert store.revocations.age(NOW + timedelta(seconds=1)) == 1


def test_a_certificate_is_verified_once_for_all_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    store, der = TrustStore(ROOT, StillClock()), make.der(make.certificate_of(USER))
    peer = store.peer(der, {Role.USER})
    monkeypatch.setattr("trust.store.authentic", None)
    assert store.peer(der, {Role.USER, Role.NODE}) is peer
    with pytest.raises(Refusal) as refusal:
        store.peer(der, {Role.NODE})
    assert refusal.value.code is Code.NOT_ALLOWED


def test_a_remembered_certificate_is_revoked_by_the_next_list() -> None:
    store, certificate = TrustStore(ROOT, StillClock()), make.certificate_of(USER)
    store.update(crl(1))
    assert store.peer(certificate, {Role.USER}).identity == USER
    store.update(crl(2, certificate.serial_number))
    with pytest.raises(Refusal) as refusal:
        store.peer(certificate, {Role.USER})
    assert refusal.value.code is Code.REVOKED


@pytest.mark.parametrize("moment", [NOW + timedelta(days=31), NOW - timedelta(hours=1), NOW + timedelta(days=8_000)])
def test_a_remembered_certificate_is_good_between_its_two_dates(moment: datetime) -> None:
    clock = StillClock()
    store, certificate = TrustStore(ROOT, clock), make.certificate_of(USER)
    assert store.peer(certificate, {Role.USER}).identity == USER
    clock.time = moment
    with pytest.raises(Refusal) as refusal:
        store.peer(certificate, {Role.USER})
    assert refusal.value.code is Code.NOT_AUTHENTICATED


def test_a_remembered_certificate_ends_with_the_root() -> None:
    clock, authority = StillClock(), make.authority()
    end = authority.certificate.not_valid_after_utc
    clock.time = end - timedelta(days=1)
    key = make.key_of(Role.NODE)
    certificate = authority.issue(make.NODE, key.public_key(), now=clock.time, lifetime=60)
    store = TrustStore(ROOT, clock)
    assert store.peer(certificate, {Role.NODE}).identity == make.NODE
    # Its own end is made to look later than the root's: the root's counts by itself.
    store._authentic[certificate] = replace(store.peer(certificate, {Role.NODE}), not_after=end + timedelta(days=9))
    clock.time = end + timedelta(days=1)
    with pytest.raises(Refusal):
        store.peer(certificate, {Role.NODE})


def test_what_is_remembered_is_bounded_and_nothing_refused_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust.store.MAX_AUTHENTIC", 2)
    store = TrustStore(ROOT, StillClock())
    for identity in (make.AGENT, make.NODE, make.SVM, make.PLC, USER):
        assert store.peer(make.certificate_of(identity), set(Role)).identity == identity
        with pytest.raises(Refusal):
            store.peer(b"garbage", set(Role))
        assert len(store._authentic) <= 2
        assert b"garbage" not in store._authentic
