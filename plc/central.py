"""One plc, opened: its database, its CA, its clock. The daemon, the operator's verbs and the testbed act on it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, Engine

from models import database
from models.outage import in_one_line
from plc.accounts import Account, find
from plc.authority import load_authority
from plc.ca import has_issued
from plc.passwords import Passwords
from plc.settings import Settings
from plc.throttle import ACCOUNT, ADDRESS, attempt, forget, take_back
from trust.certificates import Authority
from trust.clock import Clock, system_clock
from trust.errors import Code, Refusal
from trust.identity import Identity

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Central:
    """Every change is one transaction of ``begin()``; times come from ``clock``."""

    settings: Settings
    engine: Engine
    authority: Authority
    clock: Clock
    passwords: Passwords

    @classmethod
    def open(cls, settings: Settings, clock: Clock | None = None, *, migrate: bool = False) -> Self:
        """Connect and read the CA, made at the very first start; ``migrate`` brings the schema up to date first."""
        ticking = clock or system_clock()
        url = settings.database_url.get_secret_value()
        if migrate:
            database.migrate(url, "plc")
        # As many connections as the server has threads, or calls would wait for one another's.
        engine = database.engine(url, connections=45)
        try:
            with in_one_line("plc"), engine.begin() as connection:
                first = not has_issued(connection)
            authority = load_authority(settings.state_dir, ticking.now(), first=first)
        except BaseException:
            engine.dispose()
            raise
        return cls(settings, engine, authority, ticking, Passwords())

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by any exception."""
        with self.engine.begin() as connection:
            yield connection

    def log_in(self, email: str, password: str, address: str) -> Account:
        """The account of this e-mail and password, in whatever state it is.

        The same answer and time for an unknown e-mail; throttled by account and by address. No transaction is open
        while the password is hashed. Raises Refusal NOT_AUTHENTICATED, BAD_INPUT (no e-mail), OVER_CAPACITY.
        """
        name = Identity.user(email).name
        by_account, by_address = f"account {name}", f"address {address}"
        with self.begin() as connection, _told(address):
            attempt(connection, by_account, ACCOUNT, self.clock.now())
            attempt(connection, by_address, ADDRESS, self.clock.now())
            who = find(connection, name)
        if not self.passwords.matches(password, who.password_hash if who else None) or who is None:
            # A name that is no account's is not said: it may be a password, typed in the wrong place.
            log.warning("log-in failed", extra={"account": who.email if who else "unknown", "address": address})
            raise Refusal(Code.NOT_AUTHENTICATED, "wrong e-mail or password; try again")
        with self.begin() as connection:
            forget(connection, by_account)
            take_back(connection, by_address, self.clock.now())
        log.info("log-in", extra={"account": who.email, "address": address})
        return who

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Have the log say that somebody tries too often."""
    try:
        yield
    except Refusal as refusal:
        log.warning("log-in refused: %s", refusal.reason, extra={"address": address})
        raise
