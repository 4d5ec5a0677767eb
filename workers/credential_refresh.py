"""A worker's credentials: it acts with the service manager's certificate, which svmd renews in the shared folder."""

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event

from plc.client import Member
from rpc.background import surviving, thread
from rpc.credentials import Credentials
from trust.clock import Clock
from trust.errors import Refusal

log = logging.getLogger(__name__)

REFRESH_SECONDS = 20  # plc's revocation list and the certificate's file (docs/protocol.md, "Identities")
WAIT_SECONDS = 0.5


def wait_for_credentials(directory: Path, stop: Event) -> Credentials | None:
    """The service manager's credentials, as soon as svmd has enrolled; None when told to stop before."""
    credentials, told = Credentials(directory), False
    while not credentials.exists():
        if not told:
            log.warning("no certificate in %s yet: waiting for svmd to enrol", directory)
            told = True
        if stop.wait(WAIT_SECONDS):
            return None
    return credentials


class CredentialRefresh:
    """A thread that keeps the revocation list fresh and notices a new certificate. It renews nothing itself."""

    def __init__(self, credentials: Credentials, plc_url: str, clock: Clock, renewed: Callable[[], None]) -> None:
        self.member = Member(credentials, plc_url, clock)
        self._renewed = renewed
        self._seen = self._serial()
        self._stop = Event()
        self._thread = thread(self._run, "credentials")

    def start(self) -> None:
        """The list now, if plc answers; then look after it."""
        self.member.refresh()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, close the connections."""
        self._stop.set()
        self._thread.join()
        self.member.close()

    def refresh(self) -> None:
        """One round."""
        self.member.refresh()
        serial = self._serial()
        if serial != self._seen:
            self._seen = serial
            for client in (self.member.plc, self.member.background):
                client.reload()
            self._renewed()

    def _serial(self) -> int | None:
        try:
            return self.member.credentials.certificate.serial_number
        except Refusal:  # read in the middle of a replacement
            return None

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            with surviving("cannot look after the certificate"):
                self.refresh()
