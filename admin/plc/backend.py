"""Two ways to act on plc for `dslice plc`: as its operator, on its own machine, and as a user, over the network.

The operator acts on plc's database and CA through plc's own functions; a user (PI or admin) through plc's API with
the certificate in $PLANETLAB_HOME. Both give the same values, so that the verbs need not know which it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from admin.plc.here import in_testbed, settings_here
from plc.accounts import OPERATOR, Account
from plc.central import Central
from plc.client import Plc, User, Waiting
from plc.client.values import CertificateRequest, RequestState
from trust.errors import Code, Refusal


class Backend(Protocol):
    """What PIs, admins and the operator can do; each raises Refusal."""

    def requests(self) -> list[Waiting]: ...
    def decide(self, which: str, *, approve: bool, reason: str) -> None: ...
    def sites(self) -> list[str]: ...
    def add_site(self, name: str) -> None: ...
    def users(self) -> list[User]: ...
    def enable(self, email: str) -> None: ...
    def disable(self, email: str, reason: str, *, stop: bool) -> list[str]: ...
    def set_pi(self, email: str, pi: bool) -> None: ...
    def keys(self, email: str) -> list[str]: ...
    def add_key(self, email: str, text: str) -> str: ...
    def remove_key(self, email: str, fingerprint: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """At plc's own machine."""

    central: Central

    def requests(self) -> list[Waiting]:
        from plc.certificates import Request, waiting

        def shown(request: Request, who: Account) -> Waiting:
            state = CertificateRequest(
                str(request.id), RequestState.PENDING, self.central.settings.ca_operator, request.asked_at, None, None
            )
            return Waiting(who.email, who.name, who.site, who.account_role, request.key_sha256, state)

        with self.central.begin() as connection:
            return [shown(request, who) for request, who in waiting(connection, OPERATOR)]

    def decide(self, which: str, *, approve: bool, reason: str) -> None:
        from plc import certificates

        settings, now = self.central.settings, self.central.clock.now()
        with self.central.begin() as connection:
            if approve:
                certificates.approve(connection, self.central.authority, OPERATOR, which, settings, now)
            else:
                certificates.deny(connection, OPERATOR, which, reason, settings, now)

    def sites(self) -> list[str]:
        from plc.accounts import sites

        with self.central.begin() as connection:
            return list(sites(connection))

    def add_site(self, name: str) -> None:
        from plc.accounts import add_site

        with self.central.begin() as connection:
            add_site(connection, OPERATOR, name, self.central.clock.now())

    def users(self) -> list[User]:
        from plc.accounts import visible_to
        from plc.keys import keys_of

        with self.central.begin() as connection:
            return [
                User(
                    a.email, a.name, a.site, a.title, a.is_admin, a.is_pi, a.state, None, tuple(keys_of(connection, a))
                )
                for a in visible_to(connection, OPERATOR)
            ]

    def enable(self, email: str) -> None:
        from plc.accounts import enable

        with self.central.begin() as connection:
            enable(connection, OPERATOR, email, self.central.clock.now())

    def disable(self, email: str, reason: str, *, stop: bool) -> list[str]:
        from plc.deactivation import disable

        settings, now = self.central.settings, self.central.clock.now()
        with self.central.begin() as connection:
            return list(disable(connection, OPERATOR, email, reason, stop, settings, now))

    def set_pi(self, email: str, pi: bool) -> None:
        from plc.deactivation import set_pi

        with self.central.begin() as connection:
            set_pi(connection, OPERATOR, email, pi, self.central.settings, self.central.clock.now())

    def keys(self, email: str) -> list[str]:
        from plc.accounts import load
        from plc.keys import keys_of

        with self.central.begin() as connection:
            return list(keys_of(connection, load(connection, email)))

    def add_key(self, email: str, text: str) -> str:
        from plc.keys import add_key

        with self.central.begin() as connection:
            return add_key(connection, OPERATOR, email, text, self.central.clock.now())

    def remove_key(self, email: str, fingerprint: str) -> None:
        from plc.keys import remove_key

        with self.central.begin() as connection:
            remove_key(connection, OPERATOR, email, fingerprint, self.central.clock.now())


@dataclass(frozen=True, slots=True)
class RemoteBackend:
    """Anywhere, with a certificate."""

    plc: Plc

    def requests(self) -> list[Waiting]:
        return list(self.plc.requests())

    def decide(self, which: str, *, approve: bool, reason: str) -> None:
        self.plc.decide(which, approve=approve, reason=reason)

    def sites(self) -> list[str]:
        return list(self.plc.sites())

    def add_site(self, name: str) -> None:
        self.plc.add_site(name)

    def users(self) -> list[User]:
        return list(self.plc.users())

    def enable(self, email: str) -> None:
        self.plc.enable(email)

    def disable(self, email: str, reason: str, *, stop: bool) -> list[str]:
        return list(self.plc.disable(email, reason, stop=stop))

    def set_pi(self, email: str, pi: bool) -> None:
        self.plc.set_pi(email, pi)

    def keys(self, email: str) -> list[str]:
        return list(self.plc.keys(email))

    def add_key(self, email: str, text: str) -> str:
        return self.plc.add_key(email, text)

    def remove_key(self, email: str, fingerprint: str) -> None:
        self.plc.remove_key(email, fingerprint)


@contextmanager
def operator(folder: Path | None) -> Iterator[LocalBackend]:
    """plc's settings from the environment where they are set (plc's machine), else from the testbed's home.

    Raises Refusal as ``models.outage.in_one_line``.
    """
    of_testbed = in_testbed(folder)  # before its settings are in the environment
    try:
        central = Central.open(settings_here(folder))
    except Refusal as refusal:
        if of_testbed and refusal.code is Code.UNREACHABLE:
            raise Refusal(refusal.code, "this testbed's database does not answer: start it with dslice up") from refusal
        raise
    try:
        yield LocalBackend(central)
    finally:
        central.close()


@contextmanager
def member() -> Iterator[RemoteBackend]:
    """With the certificate of $PLANETLAB_HOME."""
    from svm.home import Home as KeyDirectory

    home = KeyDirectory.find()
    with Plc(home.require_plc(), home.require_certificate()) as plc:
        yield RemoteBackend(plc)
