"""A CA, certificates and servers for these tests: everything on loopback, every file in the test's own folder."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rpc import tls
from rpc.aio import Session
from rpc.blocking import Connection
from rpc.credentials import Credentials
from rpc.reply import Reply
from rpc.server import Listener, serve
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.errors import Refusal
from trust.identity import Identity, Role
from trust.store import TrustStore

HOST = "127.0.0.1"
NODE, OTHER_NODE, SVM = Identity(Role.NODE, "n1"), Identity(Role.NODE, "n2"), Identity(Role.SVM, "lab")
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
        ending, running = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: running.call_soon_threadsafe(ending.set))

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
        if stop and not failures:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                stop[0]()
        thread.join(30)
    if failures:
        raise failures[0]


def call(
    kind: str,
    url: str,
    path: str = "/who",
    method: str = "GET",
    *,
    credentials: Credentials | None,
    expect: Identity,
    ca_pem: str | None = None,
    times: int = 1,
    **options: Any,
) -> Reply:
    """The last of ``times`` calls with one of the two clients, which must behave alike; that one has the options."""

    async def asynchronously() -> Reply:
        async with Session(credentials, ca_pem=ca_pem) as session:
            for _ in range(times - 1):
                await session.call(method, url + path, expect=expect)
            return await session.call(method, url + path, expect=expect, **options)

    if kind == "aio":
        return asyncio.run(asynchronously())
    timeouts = {"connect_timeout": options.pop("connect_timeout")} if "connect_timeout" in options else {}
    with Connection(url, credentials=credentials, ca_pem=ca_pem, expect=expect, **timeouts) as connection:
        for _ in range(times - 1):
            connection.call(method, path)
        return connection.call(method, path, **options)


def refused(kind: str, url: str, *args: Any, **options: Any) -> Refusal:
    """The Refusal that a call ends with."""
    with pytest.raises(Refusal) as caught:
        call(kind, url, *args, **options)
    return caught.value


class Scripted:
    """A server that does to each connection, TLS done, what ``script`` says, then closes it."""

    def __init__(self, script: Callable[["Scripted", Any], None], context: ssl.SSLContext | None) -> None:
        self.script = script
        self.context = context
        self.connections = 0  # whose handshake succeeded
        self.received = b""
        self.threads: list[threading.Thread] = []
        self.listening = socket.create_server((HOST, 0))
        self.place = f"{HOST}:{self.listening.getsockname()[1]}"
        self.over = threading.Event()  # a script that waits, waits for this

    @property
    def url(self) -> str:
        return f"https://{self.place}"

    def request(self, connection: Any) -> bytes:
        """Read one request up to the end of its head (the tests send none with a body); b"" if the client left."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = connection.recv(65536)
            if not piece:
                return b""
            head += piece
            self.received += piece
        return head

    def run(self) -> None:
        while True:
            try:
                plain, _ = self.listening.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.attend, args=(plain,)))
            self.threads[-1].start()

    def attend(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(plain.close)
            connection: Any = plain
            if self.context is not None:
                connection = stack.enter_context(self.context.wrap_socket(plain, server_side=True))
            self.connections += 1
            self.script(self, connection)


@contextmanager
def scripted(script: Callable[[Scripted, Any], None], context: ssl.SSLContext | None) -> Iterator[Scripted]:
    """A running ``Scripted``; without a context it speaks plain TCP."""
    server = Scripted(script, context)
    acceptor = threading.Thread(target=server.run)
    acceptor.start()
    try:
        yield server
    finally:
        server.over.set()
        server.listening.shutdown(socket.SHUT_RDWR)
        server.listening.close()
        for thread in (acceptor, *server.threads):
            thread.join(30)


def answer(body: bytes = b'{"ok": true}', *headers: str) -> bytes:
    """A whole answer."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
