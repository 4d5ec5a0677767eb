"""A service as plc's client: how it enrols, keeps its certificate and its revocation list fresh."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event, Thread
from typing import Self

from plc.client.calls import Plc
from plc.client.token import Token
from plc.client.trusting import root_with_fingerprint
from rpc import tls
from rpc.background import thread
from rpc.credentials import Credentials
from rpc.files import replace_file
from trust.certificates import fingerprint, key_to_pem, new_private_key, new_request
from trust.clock import Clock
from trust.documents import SKEW
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import PrivateKey, key_from_pem
from trust.revocation import RESIGN_SECONDS, RevocationList
from trust.store import TrustStore

CRL_SECONDS = 20  # between two looks at the revocation list (docs/protocol.md, "Identities")
ANNOUNCE_SECONDS = 5  # between two tries while plc is away
RENEW_AT = 2 / 3  # of a certificate's life
LAST_LIST = "crl.pem"  # beside the certificate: a service that starts while plc is down goes on with it while it counts
KEY_TO_COME = "enrolling.key.pem"  # kept until its certificate is saved: a lost answer can be asked for again

log = logging.getLogger(__name__)


class Member:
    """An enrolled service: ``credentials`` (its certificate), ``store`` (root, revocations), ``plc`` (its client)."""

    def __init__(self, credentials: Credentials, plc_url: str, clock: Clock, store: TrustStore | None = None) -> None:
        """From credentials that are there (``join`` makes them)."""
        self.credentials = credentials
        self.identity = credentials.identity
        self.store = store or TrustStore(credentials.root, clock)
        self._plc_url = plc_url
        self._clock = clock
        self._callbacks: list[Callable[[], None]] = []
        self._keeper = Keeper([self])
        if self.store.revocations is None:
            self._remember()

    @classmethod
    def join(
        cls,
        *,
        directory: Path,
        plc_url: str,
        role: Role,
        name: str,
        addresses: Sequence[str] = (),
        token: str | None = None,
        clock: Clock,
        store: TrustStore | None = None,
    ) -> Self:
        """Take up the certificate in ``directory``, or enrol with the token when there is none or it has ended.

        Args:
            directory: the service's state folder (made 0700), for key.pem, cert.pem, ca.pem.
            addresses: IP addresses or host names it answers at; must be among those of the token (empty: no check).
            token: from ``dslice plc token ROLE NAME ADDRESS…``; only looked at when there is no valid certificate.
            store: one to share, for a process with many members (simulated nodes).

        Raises Refusal: UNREACHABLE (try again later), NOT_AUTHENTICATED (token used, expired, another's). A plc that
        is away is no error for a service that has its certificate: it goes on with the list that it had last, whose
        age counts from the list's own time, and a newer one comes later.
        """
        wanted, credentials = Identity(role, name), Credentials(directory)
        invitation = Token.parse(token) if token else None
        if not _usable(credentials, wanted, invitation, clock):
            if invitation is None:
                raise _not_enrolled(wanted, credentials)
            enrol(credentials, wanted, plc_url, addresses, invitation, clock)
        kept_fresh = store is not None and store.revocations is not None
        member = cls(credentials, plc_url, clock, store)
        if not kept_fresh:
            member.refresh()
        return member

    @cached_property
    def plc(self) -> Plc:
        """The client for the service's own calls."""
        return Plc(self._plc_url, self.credentials, clock=self._clock)

    @cached_property
    def background(self) -> Plc:
        """The background thread's, so that its calls and the service's do not wait for one another."""
        return Plc(self._plc_url, self.credentials, clock=self._clock)

    def announce(self, url: str) -> None:
        """Agents and svmd: put the base URL into the directory, again at each start."""
        self.plc.announce(url)

    async def keep_announcing(self, url: str) -> None:
        """The same, until plc has heard it: in a thread, for plc may take its time or be away."""
        while True:
            try:
                await asyncio.to_thread(self.announce, url)
            except Exception:
                log.exception("cannot announce %s to plc; trying again", self.identity)
                await asyncio.sleep(ANNOUNCE_SECONDS)
            else:
                return

    def on_renew(self, callback: Callable[[], None]) -> None:
        """Called in the background thread after a new certificate was saved, to reload TLS contexts."""
        self._callbacks.append(callback)

    def server_context(self) -> ssl.SSLContext:
        """For its server, which shows the newest certificate at every new handshake."""
        context = tls.server_context(self.credentials)
        self.on_renew(lambda: tls.reload(context, self.credentials))
        return context

    def page_context(self) -> ssl.SSLContext:
        """The same for pages that browsers open: nobody is asked for a certificate."""
        context = tls.page_context(self.credentials)
        self.on_renew(lambda: tls.reload(context, self.credentials))
        return context

    def start(self) -> None:
        """Background thread: the revocation list each 20 s, the certificate at 2/3 of its life."""
        self._keeper.start()

    def stop(self) -> None:
        """End the thread, close the connections."""
        self._keeper.stop()
        self.close()

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        for name in ("plc", "background"):
            if name in self.__dict__:  # cached_property: made already
                getattr(self, name).close()

    def refresh(self) -> None:
        """Fetch the revocation list now; a plc that does not answer is logged and asked again later."""
        known, trouble = self.store.revocations, self.store.clock_trouble
        try:
            pem = self.background.crl()
            newest = self.store.update(pem)
        except Refusal as refusal:
            log.warning("no new revocation list: %s", refusal.reason)
            return
        self.store.clock_trouble = _clock_trouble(newest, self.store.clock.now())
        if self.store.clock_trouble and not trouble:
            log.warning("%s", self.store.clock_trouble)
        if newest is not known:
            self._keep(pem)

    def _keep(self, pem: bytes) -> None:
        path = self.credentials.directory / LAST_LIST
        try:
            replace_file(path, pem, 0o644)
        except OSError as error:  # a full disk costs no more than the list after a restart
            log.warning("the revocation list is not kept in %s: %s", path, error.strerror)

    def _remember(self) -> None:
        try:
            self.store.update((self.credentials.directory / LAST_LIST).read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, Refusal) as error:  # another CA's, after a move to another plc
            log.warning("the revocation list kept in %s is of no use: %s", self.credentials.directory, error)

    def renew_if_due(self) -> bool:
        """A new certificate once 2/3 of the old one's life are over; whether there is one. Failures come again."""
        certificate = self.credentials.certificate
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if self._clock.now() < start + (end - start) * RENEW_AT:
            return False
        try:
            self.renew()
        except Refusal as refusal:
            log.warning(
                "the certificate of %s, which ends at %s, is not renewed: %s", self.identity, end, refusal.reason
            )
            return False
        return True

    def renew(self) -> None:
        """A new certificate for the same key, saved; then every callback."""
        pem = self.background.renew_certificate(new_request(self.credentials.key, self.identity))
        self.credentials.save(certificate_pem=pem)
        for client in (self.plc, self.background):
            client.reload()
        for callback in self._callbacks:
            callback()
        log.info("the certificate of %s is renewed", self.identity)


class Keeper:
    """One thread that looks after many members (simulated nodes): lists fetched once for each shared store."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._stop = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = thread(self._run, "plc-member")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)
            self._thread = None

    def look(self) -> None:
        """One round: each store's list, each member's certificate."""
        refreshed: set[int] = set()
        for member in self._members:
            if self._stop.is_set():
                return
            try:
                if id(member.store) not in refreshed:
                    refreshed.add(id(member.store))
                    member.refresh()
                member.renew_if_due()
            except Exception:  # one member's trouble (a full disk, say) must not end the others' rounds
                log.exception("cannot look after %s", member.identity)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(CRL_SECONDS)


def enrol(
    credentials: Credentials, wanted: Identity, plc_url: str, addresses: Sequence[str], token: Token, clock: Clock
) -> None:
    """Trade a token for key, certificate and root in the folder of ``credentials``, whatever is there.

    The secret is sent only to a plc that proves to be of the token's CA. Raises Refusal as ``Member.join``.
    """
    if token.identity != wanted:
        raise Refusal(Code.BAD_INPUT, f"this token is for {token.identity}, not for {wanted}")
    credentials.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = _root(plc_url, token)
    key = _key_to_come(credentials.directory, wanted.role)
    with Plc(plc_url, ca_pem=root, clock=clock) as plc:
        certificate = plc.enrol(token.secret, new_request(key, wanted), addresses)
    credentials.save(key_pem=key_to_pem(key), certificate_pem=certificate, ca_pem=root)
    (credentials.directory / KEY_TO_COME).unlink(missing_ok=True)


def _root(plc_url: str, token: Token) -> str:
    try:
        return root_with_fingerprint(plc_url, token.ca_fingerprint)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{refusal.reason}, or correct DSLICE_PLC_URL ({plc_url})") from refusal


def _usable(credentials: Credentials, wanted: Identity, token: Token | None, clock: Clock) -> bool:
    """Whether there is a certificate that has not ended, of the CA that the token names.

    Raises Refusal(BAD_INPUT) if the folder is another service's.
    """
    if not credentials.exists():
        return False
    if credentials.identity != wanted:
        reason = f"{credentials.directory} belongs to {credentials.identity}, not {wanted}: use another folder"
        raise Refusal(Code.BAD_INPUT, reason)
    if token is not None and fingerprint(credentials.root) != token.ca_fingerprint:
        return False
    return credentials.certificate.not_valid_after_utc > clock.now()


def _clock_trouble(newest: RevocationList, now: datetime) -> str | None:
    """By the list with which plc has just answered: it signs one each minute."""
    age = newest.age(now)
    off, which = (-age, "behind") if age < 0 else (age - RESIGN_SECONDS, "ahead of")
    return f"the clock is {off} s {which} plc's: set it (chrony, systemd-timesyncd)" if off > SKEW else None


def _not_enrolled(wanted: Identity, credentials: Credentials) -> Refusal:
    found = f"{wanted} has no valid certificate in {credentials.directory}: "
    if credentials.exists():
        end = credentials.certificate.not_valid_after_utc
        found = f"{wanted}'s certificate ended at {end:%Y-%m-%d %H:%M} UTC; if this machine's clock is right, "
    return Refusal(
        Code.NOT_AUTHENTICATED,
        f"{found}get a token on plc's machine with 'dslice plc token {wanted.role} {wanted.name} ADDRESS'",
    )


def _key_to_come(directory: Path, role: Role) -> PrivateKey:
    """The key of an enrolment that was begun, or a new one, complete on disk before it is used."""
    path = directory / KEY_TO_COME
    if path.exists():
        return key_from_pem(path.read_bytes())
    key = new_private_key(role)
    replace_file(path, key_to_pem(key).encode())
    return key
