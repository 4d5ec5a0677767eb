"""Strangers who only hold connections open keep nobody out: a real server process with few descriptors."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rpc import tls
from rpc.credentials import Credentials
from tests.integration.rpc.lab import HOST, LOOPS, NODE, Lab, call

DESCRIPTORS = 160
CROWD = 105  # connections from each of two addresses
HONEST = 41

SERVER = """
import resource, sys
from pathlib import Path

resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[3])))

import asyncio
from rpc import tls
from rpc.credentials import Credentials
from rpc.server import Listener, application, open_route, serve
from tests.integration.rpc.lab import LOOPS

app = application("test")

@app.get("/open")
@open_route
async def opened() -> dict[str, bool]:
    return {"ok": True}

def ready(addresses):
    print(addresses[0][1], flush=True)

context = tls.server_context(Credentials(Path(sys.argv[1])), client_certificate="optional")
with asyncio.Runner(loop_factory=LOOPS[sys.argv[2]]) as runner:
    runner.run(serve([Listener(app, "127.0.0.1", 0, context, "test")], ready=ready))
"""


@contextmanager
def narrow(credentials: Credentials, loop: str) -> Iterator[int]:
    """The port of a server in a process of its own that may have 160 descriptors."""
    argv = [sys.executable, "-c", SERVER, str(credentials.directory), loop, str(DESCRIPTORS)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
            assert process.poll() is None
        finally:
            process.terminate()


def connected(port: int, source: str) -> socket.socket:
    return socket.create_connection((HOST, port), 20, source_address=(source, 0))


def ask(connection: socket.socket) -> None:
    """One request, and its whole answer."""
    connection.sendall(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b'{"ok":true}'):
        piece = connection.recv(4096)
        assert piece
        answer += piece


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("stage", ["nothing said", "handshake done", "asked once"])
def test_a_crowd_from_two_addresses_keeps_nobody_out(
    lab: Lab, node: Credentials, svm: Credentials, loop: str, stage: str
) -> None:
    """Not even with a handshake, or a request that needs no certificate: who shows none stays a stranger."""
    context = tls.client_context(None, ca_pem=lab.root_pem)
    with narrow(node, loop) as port, contextlib.ExitStack() as crowd:
        for number in range(2 * CROWD):
            one = connected(port, f"127.0.0.{7 + number % 2}")
            crowd.callback(one.close)
            if stage != "nothing said":
                one = crowd.enter_context(context.wrap_socket(one, server_hostname=HOST))
            if stage == "asked once":
                ask(one)
        for _ in range(HONEST):
            assert call("blocking", f"https://{HOST}:{port}", "/open", credentials=svm, expect=NODE).body == {
                "ok": True
            }


@pytest.mark.parametrize("loop", LOOPS)
def test_who_is_known_stays_while_strangers_come_and_go(
    lab: Lab, node: Credentials, svm: Credentials, loop: str
) -> None:
    with narrow(node, loop) as port, contextlib.ExitStack() as crowd:
        known = crowd.enter_context(tls.client_context(svm).wrap_socket(connected(port, HOST), server_hostname=HOST))
        for _ in range(2):
            ask(known)
            for number in range(2 * CROWD):
                crowd.callback(connected(port, f"127.0.0.{1 + number % 2}").close)
