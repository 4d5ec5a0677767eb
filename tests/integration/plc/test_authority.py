"""The CA: the lists that it signs, its key, and what the database refuses whatever the code says."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from models.plc import certificate, certificate_request
from plc import accounts, ca
from plc.authority import load_authority
from plc.client import Plc
from tests.integration.plc.conftest import Running, refused, wait_for_a_waiter
from trust.certificates import Authority, certificate_to_pem
from trust.errors import Code


class TestAuthority:
    def test_the_list_is_signed_each_minute_and_at_once_after_a_revocation(self, plc: Running) -> None:
        who, authority, now = plc.certified(), plc.central.authority, plc.central.clock.now() + timedelta(days=1)

        def number(at: timedelta) -> int:
            with plc.central.begin() as connection:
                pem = ca.current_list(connection, authority, now + at)
            return int(x509.load_pem_x509_crl(pem).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)

        first = number(timedelta(0))
        assert number(timedelta(seconds=59)) == first
        assert number(timedelta(seconds=61)) == first + 1
        with plc.central.begin() as connection:
            assert ca.revoke(connection, who.identity, "x", plc.central.clock.now()) == 1
            assert ca.revoke(connection, who.identity, "x", plc.central.clock.now()) == 0
        assert number(timedelta(seconds=62)) == first + 2
        assert number(timedelta(0)) == first + 3  # a clock that was set back makes a new one, never a lower number

    def test_two_who_ask_at_once_get_the_same_list(self, plc: Running) -> None:
        def signed() -> bytes:
            with plc.central.begin() as connection:
                return ca.current_list(connection, plc.central.authority, plc.central.clock.now())

        with plc.central.begin() as connection:
            ca.mark_stale(connection)
        with ThreadPoolExecutor(1) as pool:
            with plc.central.begin() as connection:
                first = ca.current_list(connection, plc.central.authority, plc.central.clock.now())
                second = pool.submit(signed)
                wait_for_a_waiter(plc)
            assert second.result() == first

    def test_a_lost_key_is_not_replaced_by_another_ca(self, plc: Running) -> None:
        missing = plc.folder / "elsewhere"
        refused(
            lambda: load_authority(missing, plc.central.clock.now(), first=False), Code.INTERNAL, "restore the file"
        )
        made = load_authority(missing, plc.central.clock.now(), first=True)
        assert load_authority(missing, plc.central.clock.now(), first=False).certificate == made.certificate
        assert (missing / "authority.pem").stat().st_mode & 0o777 == 0o600


def test_what_the_database_itself_refuses(plc: Running) -> None:
    with plc.central.begin() as connection:
        who = accounts.load(connection, plc.person())
    now = plc.central.clock.now()
    request = {"account_id": who.id, "public_key": "x", "key_sha256": "x", "asked_at": now}
    whole = {"serial": "1", "role": "user", "name": "x", "key_sha256": "x", "pem": "x", "pi": False, "issued_at": now}
    wrong = [
        insert(certificate_request).values({**request, "id": "0" * 31 + "1", "state": "issued", "decided_at": now}),
        insert(certificate_request).values({**request, "id": "0" * 31 + "2", "state": "denied", "decided_at": now}),
        insert(certificate_request).values({**request, "id": "0" * 31 + "3", "state": "odd", "decided_at": now}),
        insert(certificate).values({**whole, "role": "node", "pi": True, "not_after": now}),
        insert(certificate).values({**whole, "revoked_at": now, "not_after": now}),
    ]
    for statement in wrong:
        with pytest.raises(DBAPIError, match="check constraint"), plc.central.begin() as connection:
            connection.execute(statement)
    pending = {**request, "state": "pending"}
    two = [{**pending, "id": "0" * 31 + "4"}, {**pending, "id": "0" * 31 + "5"}]
    with pytest.raises(DBAPIError, match="unique"), plc.central.begin() as connection:
        connection.execute(insert(certificate_request), two)


def test_a_plc_of_another_ca_is_not_spoken_to(plc: Running) -> None:
    stranger = Authority.create(plc.central.clock.now())

    with Plc(plc.url, ca_pem=certificate_to_pem(stranger.certificate)) as wrong:
        refused(wrong.crl, Code.WRONG_CERTIFICATE, "not plc's")
