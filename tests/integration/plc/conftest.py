"""A real plc for all tests of this folder: `plc.daemon` as a process, PostgreSQL, an SMTP server that keeps letters.

Tests share it; each makes accounts, sites and names of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import text

from plc import accounts, certificates
from plc.accounts import OPERATOR as AS_OPERATOR
from plc.accounts import Application
from plc.bootstrap import Bootstrap
from plc.central import Central
from plc.client import Member, Plc
from plc.enrolment import Enrolment
from plc.settings import Settings
from rpc.credentials import Credentials
from testbed.embedded import Postgres
from tests.integration.mailbox import Mailbox, mail_server
from tests.integration.passwords import CHEAP
from trust.certificates import certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.documents import DelegationKind, sign_delegation, working_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import PrivateKey
from trust.store import TrustStore

PASSWORD = "correct horse battery"
OPERATOR = "bnc@intel-research.net"
_numbers = count(1)

Client = TypeVar("Client", Plc, Member)


@dataclass
class Running:
    """The daemon, and the operator's own view of the same plc."""

    url: str
    settings: Settings
    central: Central
    ca_pem: str
    ca_fingerprint: str
    mailbox: Mailbox
    folder: Path
    opened: list[Plc | Member] = field(default_factory=list)

    def close(self) -> None:
        for client in self.opened:
            client.close()

    def _kept(self, client: Client) -> Client:
        self.opened.append(client)
        return client

    @cached_property
    def password_hash(self) -> str:
        return CHEAP.hash(PASSWORD)

    @cached_property
    def user_key(self) -> PrivateKey:
        """One for all whose key does not matter: making one takes a tenth of a second."""
        return new_private_key(Role.USER)

    def person(self, *, site: str = "Princeton", is_pi: bool = False, is_admin: bool = False) -> str:
        """The e-mail of a new enabled account."""
        number = next(_numbers)
        email, now = f"user{number}@example.org", self.central.clock.now()
        contact = {"address": "35 Olden Street", "city": "Princeton", "province": "NJ", "zip": "08544", "country": "US"}
        wanted = Application(email, f"User {number}", site, "Professor", {**contact, "phone": "609-258-6077"})
        with self.central.begin() as connection:
            if site not in accounts.sites(connection):
                accounts.add_site(connection, AS_OPERATOR, site, now)
            flags = {"is_pi": is_pi, "is_admin": is_admin}
            assert accounts.add(connection, AS_OPERATOR, wanted, self.password_hash, now, **flags)
        return email

    def certified(self, *, settings: Settings | None = None, **flags: Any) -> "Certified":
        """A new account with a certificate."""
        email, credentials = self.person(**flags), Credentials(self.folder / f"certified{next(_numbers)}")
        with self.central.begin() as connection:
            who, now = accounts.load(connection, email, lock=True), self.central.clock.now()
            key = self.user_key.public_key()
            made = certificates.issue_to(connection, self.central.authority, who, key, settings or self.settings, now)
        key_pem, pem = key_to_pem(self.user_key), certificate_to_pem(made)
        credentials.save(key_pem=key_pem, certificate_pem=pem, ca_pem=self.ca_pem)
        return Certified(email, credentials, self._kept(Plc(self.url, credentials)))

    def store(self) -> TrustStore:
        """plc's root and its list of this moment, as a service has them."""
        store = TrustStore(self.central.authority.certificate, SystemClock())
        store.update(self.anyone().crl())
        return store

    def anyone(self) -> Plc:
        """A client without a certificate."""
        return self._kept(Plc(self.url, ca_pem=self.ca_pem))

    @cached_property
    def opened_agent(self) -> Member:
        """An agent whose name does not matter."""
        return self.member(Role.AGENT)

    def member(self, role: Role, name: str | None = None) -> Member:
        """A newly enrolled service at 127.0.0.1."""
        named = name or f"{role}{next(_numbers)}"
        (token,) = Bootstrap(self.central).tokens([Enrolment(Identity(role, named), ("127.0.0.1",))])
        member = Member.join(
            directory=self.folder / named,
            plc_url=self.url,
            role=role,
            name=named,
            addresses=["127.0.0.1"],
            token=token,
            clock=SystemClock(),
        )
        return self._kept(member)


@dataclass
class Certified:
    email: str
    credentials: Credentials
    plc: Plc

    @property
    def identity(self) -> Identity:
        return Identity.user(self.email)

    def delegation(self, name: str, to: Identity, kind: DelegationKind = DelegationKind.WORKING) -> str:
        """What this user signs for a slice, now."""
        key, certificate = self.credentials.key, self.credentials.certificate
        signed = working_delegation(self.identity, to, name, certificate, SystemClock().now())
        return sign_delegation(replace(signed, kind=kind), key, certificate)


def register(agent: Member, name: str, owner: Certified) -> UUID:
    """The agent registers a name for an owner who asked it himself."""
    return agent.plc.register_slice(name, owner.identity, owner.delegation(name, agent.identity))


def refused(call: Callable[[], object], code: Code, words: str) -> Refusal:
    """The call is refused, with this code and these words in the reason."""
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.code is code, caught.value.reason
    assert words in caught.value.reason
    return caught.value


def wait_for_a_waiter(plc: Running) -> None:
    """Until somebody waits for a lock of another transaction."""
    for _ in range(1000):
        with plc.central.begin() as connection:
            if connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


@pytest.fixture(scope="package")
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    with mail_server() as found:
        yield found


@pytest.fixture(scope="package")
def plc(
    postgres: Postgres, mailbox: tuple[Mailbox, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("plc")
    postgres.create_database("plc_daemon")
    box, smtp_url = mailbox
    environment = {
        "DSLICE_STATE_DIR": str(folder / "plc"),
        "DSLICE_DATABASE_URL": postgres.url("plc", "plc_daemon"),
        "DSLICE_LISTEN": "127.0.0.1:0",
        "DSLICE_SMTP_URL": smtp_url,
        "DSLICE_CA_OPERATOR": OPERATOR,
    }
    settings = Settings(
        state_dir=folder / "plc",
        database_url=environment["DSLICE_DATABASE_URL"],
        listen="127.0.0.1:0",
        smtp_url=smtp_url,
        ca_operator=OPERATOR,
    )
    with Bootstrap.open(settings) as made, started(environment, folder / "plc.log") as address:
        made.central.passwords._hasher = CHEAP
        running = Running(f"https://{address}", settings, made.central, made.ca_pem, made.ca_fingerprint, box, folder)
        yield running
        running.close()


class started:  # noqa: N801 - reads as what it is
    """A plc process for the length of a with-block; gives its address."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = {**{k: v for k, v in os.environ.items() if not k.startswith("DSLICE_")}, **environment}
        self._log = log

    def __enter__(self) -> str:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "plc.daemon"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        assert line[:1] == ["ready"], self._log.read_text()
        return line[1]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(30) == 0, self._log.read_text()
        assert self._process.stdout is not None
        self._process.stdout.close()
