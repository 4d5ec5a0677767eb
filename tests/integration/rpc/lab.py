"""A CA, certificates and servers for these tests: everything on loopback, every file in the test's own folder."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop

from rpc import tls
from rpc.credentials import Credentials
from rpc.server import Listener, serve
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.identity import Identity, Role
from trust.store import TrustStore

HOST = "127.0.0.1"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Lab:
    """One CA and whoever it certifies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create(datetime.now(UTC) - timedelta(days=2))

    @property
    def root_pem(self) -> str:
        return certificate_to_pem(self.authority.certificate)

    def credentials(
        self, identity: Identity, addresses: Sequence[str] = (HOST,), *, start: int = 0, lifetime: int = 3600
    ) -> Credentials:
        """Of the identity, valid from ``start`` seconds from now; a service's names its addresses."""
        key = new_private_key(identity.role)
        certificate = self.authority.issue(
            identity,
            key.public_key(),
            now=datetime.now(UTC) + timedelta(seconds=start),
            lifetime=lifetime,
            addresses=() if identity.role is Role.USER else addresses,
        )
        made = Credentials(self.folder / f"{identity.role}-{identity.name}-{certificate.serial_number:x}")
        made.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(certificate), ca_pem=self.root_pem)
        return made

    def renew(self, credentials: Credentials) -> int:
        """Issue another certificate for the same identity and a new key; its serial."""
        other = self.credentials(credentials.identity)
        key, certificate = other.pair()
        credentials.save(key_pem=key.decode(), certificate_pem=certificate.decode())
        return other.certificate.serial_number

    def store(self, *revoked: int, age: int = 0, number: int = 1) -> TrustStore:
        """A service's trust store with a list that is ``age`` seconds old."""
        now = datetime.now(UTC) - timedelta(seconds=age)
        store = TrustStore(self.authority.certificate, SystemClock())
        store.update(self.authority.sign_crl([(serial, now) for serial in revoked], number=number, now=now))
        return store

    def listener(self, app: Any, credentials: Credentials, host: str = HOST, **options: Any) -> Listener:
        return Listener(app, host, 0, tls.server_context(credentials, **options), "test")


@contextmanager
def serving(*listeners: Listener, loop: str = "asyncio", grace: int = 1) -> Iterator[list[str]]:
    """``serve`` in a thread of its own; gives the base URL of each listener."""
    ready, urls, failures = threading.Event(), list[str](), list[BaseException]()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        ending = asyncio.Event()
        stop.append(lambda: asyncio.get_running_loop)
        running = asyncio.get_running_loop()
        stop[:] = [lambda: running.call_soon_threadsafe(ending.set)]

        def note(addresses: list[tuple[str, int]]) -> None:
            urls.extend(
                f"{'https' if listener.context else 'http'}://{host}:{port}"
                for listener, (host, port) in zip(listeners, addresses, strict=True)
            )
            ready.set()

        await serve(listeners, ready=note, stop=ending, grace=grace)

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001 - shown in the test's own thread
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        ready.wait(30)
        if failures:
            raise failures[0]
        yield urls
    finally:
        if stop and thread.is_alive():
            stop[0]()
        thread.join(30)
    if failures:
        raise failures[0]


Script = Callable[[Any], None]


@contextmanager
def scripted(script: Script, credentials: Credentials | None = None, **options: Any) -> Iterator[tuple[str, list[str]]]:
    """A server that does to each connection (in its own thread, TLS done) what ``script`` says, then closes it.

    Gives its base URL and what became of each connection, in the order in which they came.
    """
    context = tls.server_context(credentials, **options) if credentials else None
    seen: list[str] = []
    threads: list[threading.Thread] = []

    def attend(plain: socket.socket) -> None:
        try:
            with plain if context is None else context.wrap_socket(plain, server_side=True) as connection:
                seen.append("connected")
                connection.settimeout(20)
                script(connection)
        except OSError as error:
            seen.append(type(error).__name__)
        finally:
            plain.close()

    def accept(listening: socket.socket) -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=attend, args=(plain,)))
            threads[-1].start()

    with socket.create_server((HOST, 0)) as listening:
        acceptor = threading.Thread(target=accept, args=(listening,))
        acceptor.start()
        try:
            yield f"https://{HOST}:{listening.getsockname()[1]}", seen
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            acceptor.join(30)
    for thread in threads:
        thread.join(30)
