"""`dslice run plc`: PlanetLab Central in the foreground."""

from datetime import timedelta
from threading import Event

from cryptography import x509

from plc.api import build, health_of
from plc.ca import current_list, issue, mark_stale
from plc.central import Central
from plc.client.values import PLC
from plc.enrolment import purge_tokens
from plc.forgetting import forget
from plc.journal import Teller
from plc.mail import Postman
from plc.metrics import TableCollector
from plc.reminders import remind
from plc.settings import Settings
from plc.throttle import purge
from rpc import daemon, metrics, server, tls
from rpc.background import surviving, thread
from rpc.credentials import Credentials
from rpc.server import Listener
from rpc.settings import split_host_port
from trust.certificates import certificate_to_pem, key_to_pem, new_private_key
from trust.errors import Refusal
from trust.store import TrustStore

TICK = 5  # seconds between two looks at what is due
FORGET_SECONDS = 600  # between two looks for what ended long ago


class Upkeep:
    """What plc does by itself: its own certificate, its own view of the revocation list, tables that would grow."""

    def __init__(self, central: Central) -> None:
        self.central = central
        self.credentials = Credentials(central.settings.state_dir)
        self.store = TrustStore(central.authority.certificate, central.clock)
        self.certify_if_due()
        self.context = tls.server_context(self.credentials, client_certificate="optional")
        self._forgets_at = central.clock.now()
        self._stop = Event()
        self._thread = thread(self._run, "upkeep")
        with central.begin() as connection:
            mark_stale(connection)  # the last one may be of a CA that was replaced since
            self._journal = Teller(connection)
        self.look()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def look(self) -> None:
        """One round. Signing the list each minute here keeps the first caller after a quiet hour from waiting."""
        if self.certify_if_due():
            tls.reload(self.context, self.credentials)
        now = self.central.clock.now()
        with self.central.begin() as connection:
            self._journal.tell(connection)
            pem = current_list(connection, self.central.authority, now)
            purge(connection, now)
            purge_tokens(connection, now)
            remind(connection, now)
            if self._forgets_at <= now:
                self._forgets_at = now + timedelta(seconds=FORGET_SECONDS)
                forget(connection, self.central.settings.history_days, now)
        self.store.update(pem)

    def certify_if_due(self) -> bool:
        """A certificate for plc itself at its first start, at 2/3 of the old one's life, or for other addresses."""
        now, settings = self.central.clock.now(), self.central.settings
        if not self._due():
            return False
        key = new_private_key(PLC.role)
        with self.central.begin() as connection:
            made = issue(
                connection,
                self.central.authority,
                PLC,
                key.public_key(),
                now=now,
                lifetime=settings.service_lifetime,
                addresses=settings.addresses,
            )
        root = certificate_to_pem(self.central.authority.certificate)
        self.credentials.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(made), ca_pem=root)
        return True

    def _due(self) -> bool:
        try:
            self.credentials.pair()
            certificate = self.credentials.certificate
            if self.credentials.root != self.central.authority.certificate:
                return True
        except Refusal:
            return True
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        old = end - self.central.clock.now() < (end - start) / 3
        return old or _addresses(certificate) != set(self.central.settings.addresses)

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            # The database may be away for a while; callers are told by their own calls.
            with surviving("upkeep failed; it is tried again"):
                self.look()


def main() -> None:
    """Serve until SIGTERM; prints `ready ADDRESS` once it answers."""
    daemon.start("plc", Settings, run)


def run(settings: Settings) -> None:
    """The same, with these settings."""
    central = Central.open(settings, migrate=True)
    central.passwords.prepare()
    upkeep = Upkeep(central)
    postman = Postman(central.engine, settings.smtp_url, settings.ca_operator, central.clock)
    upkeep.start()
    postman.start()
    try:
        app = build(central, upkeep.store)
        listener = Listener(app, *split_host_port(settings.listen), upkeep.context, "plc")
        numbers = metrics.listeners(
            settings, health_of(central, upkeep.store), TableCollector(central.engine, central.clock)
        )
        server.run([listener, *numbers], ready=lambda addresses: daemon.ready(*addresses[0]))
    finally:
        postman.stop()
        upkeep.stop()
        central.close()


def _addresses(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    return {*hosts, *(str(ip) for ip in names.get_values_for_type(x509.IPAddress))}


if __name__ == "__main__":
    main()
