"""A svmd that knows one answer to each call, behind real TLS, for what `svm` does from its start to its exit."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext
from typing import Any

from rpc.credentials import Credentials
from rpc.tls import server_context
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.identity import Identity, Role

PLC = "https://127.0.0.1:1"  # nobody answers there: what plc's directory says is kept
SLICE_FILE = "<slice><name>demo</name><numnodes>8</numnodes><leaselen>3600</leaselen></slice>"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Xs0rkYZ2N5d5Zt0Jw2c3y5n8yq3q1YB4v7bYw2oP5 alice"
NODES = [f"10.0.0.{number}" for number in range(1, 9)]
_DOOR = {"address": "127.0.0.1", "port": 22, "host_key": f"ssh-ed25519 {'A' * 68}"}
_SLIVER = {"state": "running", "name": "node", "expires_at": None, "last_error": None, "frontdoor": _DOOR}
_SLICE = {
    "name": "demo",
    "state": "open",
    "now": "2026-01-01T00:00:00+00:00",
    "numnodes": 8,
    "leaselen": 3600,
    "nodes": {"running": 8},
    "slivers": [{"node": node, **_SLIVER} for node in NODES],
    "autorenew": False,
    "heal": False,
    "keys": [],
    "operations": [],
} | dict.fromkeys(("first_end", "autorenew_until", "standing_until"))
ANSWERS: dict[str, dict[str, Any]] = {
    "/slices": {"slices": [_SLICE]},
    "/slices/demo": _SLICE,
    "/doctor": {"troubles": [], "roles": [], "agents": [], "slices": []},
    "/ads": {"ads": [{"address": node} for node in NODES]},
    "/operations": {"operation": "7", "slice": "demo", "existing": False},
}
_EVENT: dict[str, Any] = {"operation": "7", "at": "2026-01-01T00:00:00+00:00", "actor": "user", "detail": {}}
_EVENT |= dict.fromkeys(("node", "kind", "before", "after", "ok", "code", "reason"))
EVENTS: list[dict[str, Any]] = [
    {"type": "started", "detail": {"nodes": len(NODES)}},
    *({"type": "node", "node": node, "ok": True, "kind": "newvms"} for node in NODES),
    {"type": "ended", "detail": {"outcome": "done"}},
]


class Svmd(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Mapping[str, Any] = ANSWERS
    events: Sequence[Mapping[str, Any]] = EVENTS

    def do_GET(self) -> None:
        if "/events" not in self.path:
            return self._answer("application/json", json.dumps(self.answers[self.path]))
        sent = (json.dumps({**_EVENT, "seq": seq, **event}) for seq, event in enumerate(self.events, 1))
        return self._answer("text/event-stream", "".join(f"data: {data}\n\n" for data in sent))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer("application/json", json.dumps(self.answers[self.path]))

    def _answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is its own."""


@contextmanager
def answering(folder: Path) -> Iterator[Path]:
    """The key directory of a user of such a svmd, whose address was asked for a moment ago.

    In `folder` are demo.xml and alice.pub, to be given to it.
    """
    (folder / "demo.xml").write_text(SLICE_FILE)
    (folder / "alice.pub").write_text(KEY)
    authority = Authority.create(datetime.now(UTC) - timedelta(days=1))
    svm = Identity(Role.SVM, "svm")
    with listening(credentials(folder / "svmd", authority, svm), Svmd) as svmd:
        home = credentials(folder / "planetlab", authority, Identity.user("pi@a.example")).directory
        (home / "directory.json").write_text(json.dumps({"plc": PLC, "svmd": svmd, "svm": svm.uri}))
        yield home


def who_says(answers: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> type[BaseHTTPRequestHandler]:
    """A service that has these answers, by path."""
    return type("Service", (Svmd,), {"answers": answers, "events": events})


@contextmanager
def listening(who: Credentials, service: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a service with this certificate."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), service)
    server.socket = _with_tls(server, server_context(who))
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _with_tls(server: ThreadingHTTPServer, context: SSLContext) -> Any:
    return context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


def credentials(folder: Path, authority: Authority, who: Identity) -> Credentials:
    user = who.role is Role.USER
    key = new_private_key(who.role)
    addresses = () if user else ("127.0.0.1",)
    certificate = authority.issue(
        who, key.public_key(), now=datetime.now(UTC), lifetime=3600, addresses=addresses, pi=user
    )
    found = Credentials(folder)
    found.save(
        key_pem=key_to_pem(key),
        certificate_pem=certificate_to_pem(certificate),
        ca_pem=certificate_to_pem(authority.certificate),
    )
    return found
