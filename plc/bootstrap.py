"""A plc made ready before its first visitor, through the same functions as everything else; repeatable.

with Bootstrap.open(settings) as plc:            # migrates the schema, makes the CA at the first start
    plc.sites(["Princeton", "Berkeley"])
    plc.accounts([Person("pi@testbed.example", "secret-word", "Larry", "Princeton", is_pi=True)])
    plc.certify("pi@testbed.example", Path("users/pi"))
    tokens = plc.tokens([Enrolment(Identity(Role.NODE, "n1"), ("127.0.1.1",))])
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from plc import accounts, certificates, enrolment
from plc.accounts import OPERATOR, Application
from plc.central import Central
from plc.enrolment import Enrolment
from plc.keys import add_key
from plc.settings import Settings
from rpc.credentials import Credentials
from trust.certificates import certificate_to_pem, fingerprint, key_to_pem, new_private_key
from trust.clock import Clock
from trust.errors import Refusal
from trust.identity import Role
from trust.keys import PrivateKey

SAVING = 8  # folders written side by side


@dataclass(frozen=True, slots=True)
class Person:
    """An account that is there from the start, enabled; ``contact`` by the names of plc.accounts.CONTACT_COLUMNS."""

    email: str
    password: str
    name: str
    site: str
    title: str = ""
    is_pi: bool = False
    is_admin: bool = False
    contact: Mapping[str, str] = field(default_factory=dict)
    ssh_key: str | None = None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The operator at an opened plc."""

    central: Central

    @staticmethod
    @contextmanager
    def open(settings: Settings, clock: Clock | None = None) -> Iterator["Bootstrap"]:
        central = Central.open(settings, clock, migrate=True)
        try:
            yield Bootstrap(central)
        finally:
            central.close()

    @property
    def ca_pem(self) -> str:
        return certificate_to_pem(self.central.authority.certificate)

    @property
    def ca_fingerprint(self) -> str:
        return fingerprint(self.central.authority.certificate)

    def sites(self, names: Iterable[str]) -> None:
        """Add those that are not there."""
        with self.central.begin() as connection:
            known = accounts.sites(connection)
            for name in names:
                if name not in known:
                    accounts.add_site(connection, OPERATOR, name, self.central.clock.now())

    def accounts(self, people: Iterable[Person]) -> None:
        """Add those that are not there, enabled; an account that is there stays as it is. No letters are sent."""
        with self.central.begin() as connection:
            missing = [person for person in people if accounts.find(connection, person.email) is None]
        for person in missing:
            hashed = self.central.passwords.hash(person.password)
            wanted = Application(person.email, person.name, person.site, person.title, person.contact)
            now, flags = self.central.clock.now(), {"is_pi": person.is_pi, "is_admin": person.is_admin}
            with self.central.begin() as connection:
                if accounts.add(connection, OPERATOR, wanted, hashed, now, **flags) and person.ssh_key is not None:
                    add_key(connection, OPERATOR, person.email, person.ssh_key, now)

    def certify(self, email: str, directory: Path) -> None:
        """Key, certificate and root for an account into a folder, unless they are there and last another day."""
        credentials = Credentials(directory)
        if self._lasts(credentials, hours=24):
            return
        key, now = new_private_key(Role.USER), self.central.clock.now()
        with self.central.begin() as connection:
            who = accounts.load(connection, email, lock=True)
            made = certificates.issue_to(
                connection, self.central.authority, who, key.public_key(), self.central.settings, now
            )
        credentials.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(made), ca_pem=self.ca_pem)

    def enrol(self, places: Mapping[Path, Enrolment]) -> None:
        """Key, certificate and root for each service into its folder, unless they are there and last another hour.

        Nobody waits for the disk: what a power cut takes is made again the next time.
        """
        wanted = {folder: place for folder, place in places.items() if not self._lasts(Credentials(folder), hours=1)}
        keys = [new_private_key(place.identity.role) for place in wanted.values()]
        pairs = [(place, key.public_key()) for place, key in zip(wanted.values(), keys, strict=True)]
        with self.central.begin() as connection:
            now, lifetime = self.central.clock.now(), self.central.settings.service_lifetime
            made = enrolment.enrol_directly(connection, self.central.authority, OPERATOR, pairs, lifetime, now)

        if not wanted:
            return
        first = Credentials(next(iter(wanted)))
        first.save(ca_pem=self.ca_pem, durable=False)

        def save(folder: Path, key: PrivateKey, certificate: x509.Certificate) -> None:
            credentials, pem = Credentials(folder), certificate_to_pem(certificate)
            credentials.save(key_pem=key_to_pem(key), certificate_pem=pem, durable=False)
            credentials.share_root(first)

        with ThreadPoolExecutor(SAVING) as pool:
            list(pool.map(save, wanted, keys, made))

    def tokens(self, enrolments: Sequence[Enrolment]) -> list[str]:
        """A token for each, in order, good for an hour."""
        with self.central.begin() as connection:
            now = self.central.clock.now()
            return enrolment.make_tokens(connection, self.central.authority, OPERATOR, enrolments, now)

    def _lasts(self, credentials: Credentials, *, hours: int) -> bool:
        try:
            end, root = credentials.certificate.not_valid_after_utc, credentials.root
        except Refusal:
            return False
        ours = root == self.central.authority.certificate
        return ours and credentials.exists() and end > self.central.clock.now() + timedelta(hours=hours)
