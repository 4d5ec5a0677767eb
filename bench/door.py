"""A node while strangers shake hands at its SSH front door without end: its API and honest logins, idle = 1.0.

The strangers repeat recorded bytes and so compute nothing themselves, as an attacker would do it.
"""

import asyncio
import multiprocessing
import os
import socket
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.client import Ad, AgentClient
from bench.tools.login import logged_in, prepared
from bench.tools.stage import Stage, testbed
from bench.tools.tables import Cell, Table
from nodemgr.client import NodeClient
from rpc.aio import Session

CROWD = 16
CALLS, PAUSE = 200, 0.01  # calls of the API, and seconds between them
LOGINS = 15
SLICE = "bench"
KEX = "curve25519-sha256@libssh.org"
KEXINIT, ECDH_INIT, ECDH_REPLY = 20, 30, 31  # RFC 4253, section 12; RFC 5656


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of the calls and logins of one round, and handshakes a second that the crowd made meanwhile."""

    calls: list[float]
    logins: list[float]
    handshakes: float


def main() -> Sequence[Table]:
    with tempfile.TemporaryDirectory() as folder, testbed(folder, "--nodes", "1") as stage:
        login = prepared(stage, SLICE)
        ad = asyncio.run(advertised(stage))
        idle = measured(stage, ad, login, crowd=0)
        busy = measured(stage, ad, login, crowd=CROWD)
    rows: list[Sequence[Cell]] = []
    for name, before, after in (("call", idle.calls, busy.calls), ("login", idle.logins, busy.logins)):
        for what, of in (("median", statistics.median), ("slowest of 20", _slow)):
            base, found = of(before), of(after)
            rows.append((f"{name}, {what}", base, found, found / base))
    title = f"A node beside {CROWD} strangers, {KEX}: {busy.handshakes:.0f} handshakes/s"
    return [Table("door", title, ("ms", "idle", "beside them", "ratio"), rows)]


def measured(stage: Stage, ad: Ad, login: list[str], *, crowd: int) -> Figures:
    """One round beside so many strangers."""
    with strangers(ad, crowd) as count:
        time.sleep(1)
        began, before = time.perf_counter(), count.value
        calls = asyncio.run(called(stage, ad))
        logins = [logged_in(login) for _ in range(LOGINS)]
        rate = (count.value - before) / (time.perf_counter() - began)
    return Figures(calls, logins, rate)


async def called(stage: Stage, ad: Ad) -> list[float]:
    """Milliseconds of each of CALLS looks at the slice, one after the other."""
    found = []
    async with Session(stage.credentials) as session:
        node = NodeClient(session, ad.api, ad.identity)
        await node.get(SLICE)  # the connection
        for _ in range(CALLS):
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            await node.get(SLICE)
            found.append((time.perf_counter() - began) * 1000)
    return found


async def advertised(stage: Stage) -> Ad:
    """Where the one node listens."""
    async with Session(stage.credentials) as session:
        found = await AgentClient(session, stage.agent.url, stage.agent.identity).ads()
    assert found is not None
    return found.ads[0]


@contextmanager
def strangers(ad: Ad, crowd: int) -> Iterator[Any]:
    """So many of them in a process of their own; a shared count of their handshakes."""
    context = multiprocessing.get_context("spawn")
    count = context.Value("l", 0)
    address = (ad.frontdoor.address, ad.frontdoor.port)
    process = context.Process(target=hammer, args=(address, crowd, count), daemon=True)
    process.start()
    try:
        yield count
    finally:
        process.kill()
        process.join()


def hammer(address: tuple[str, int], crowd: int, count: Any) -> None:
    """Handshakes without end, each on a connection of its own, on so many threads."""
    said = recorded()

    def shake() -> None:
        while True:
            try:
                hands(address, said)
            except OSError:
                continue
            with count.get_lock():
                count.value += 1

    threads = [threading.Thread(target=shake) for _ in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hands(address: tuple[str, int], said: bytes) -> None:
    """One handshake, as far as the server's signature; OSError when the server breaks it off."""
    with socket.create_connection(address, timeout=60) as connection, connection.makefile("rb") as heard:
        connection.sendall(said)
        heard.readline()
        kind = 0
        while kind != ECDH_REPLY:
            length = heard.read(4)
            packet = heard.read(struct.unpack(">I", length)[0]) if len(length) == 4 else b""
            if not packet:
                raise OSError("closed")
            kind = packet[1]


def recorded() -> bytes:
    """All that a client says up to the server's signature: banner, KEXINIT and its half of the exchange."""
    names = [KEX, "ssh-ed25519", *["aes128-ctr"] * 2, *["hmac-sha2-256"] * 2, *["none"] * 2, "", ""]
    init = os.urandom(16) + b"".join(map(_string, [name.encode() for name in names])) + bytes(5)
    half = _string(X25519PrivateKey.generate().public_key().public_bytes_raw())
    return b"SSH-2.0-stranger\r\n" + _packet(KEXINIT, init) + _packet(ECDH_INIT, half)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _packet(kind: int, payload: bytes) -> bytes:
    """RFC 4253, section 6, before any cipher."""
    padding = 4 + -(len(payload) + 2 + 8) % 8
    return struct.pack(">IBB", len(payload) + 2 + padding, padding, kind) + payload + bytes(padding)


def _slow(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
