"""Pages about 5,000 nodes and 100 slices, from a svmd that answers so behind real TLS: what they weigh and show."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from svm.flags import Flags
from svm.home import Home
from svm.web.app import create_app
from svm.web.asking import Asking
from svm.web.door import Door
from svm.web.routes import PROGRAM
from tests.unit.svm.answering import ANSWERS, EVENTS, PLC, answering

MANY, SLICES = 5000, 100
MOST = 300_000
"""Bytes of a page."""
SCRIPT = 20_000
NOW = "2026-01-10T12:00:00+00:00"
END = "2026-01-20T12:00:00+00:00"
OPERATION = "7b0e1d52-0000-4000-8000-000000000000"
NODES = [f"10.{number // 250}.{number % 250}.1" for number in range(MANY)]
BAD = set(NODES[:40])


def sliver(node: str) -> dict[str, Any]:
    told: dict[str, Any] = {"node": node, "name": f"n{node.replace('.', '-')}", "state": "running", "expires_at": END}
    told |= {"renew_at": None, "last_error": None, "changed_at": NOW, "attempts": 0, "frontdoor": None}
    return told | ({"state": "leased", "last_error": "no answer within 10 s"} if node in BAD else {})


def slice_(name: str) -> dict[str, Any]:
    told = {"name": name, "state": "open", "numnodes": MANY, "leaselen": 1_209_600, "nodes": {"running": MANY - 40}}
    told |= {"now": NOW, "created_at": NOW, "first_end": END, "autorenew": True, "heal": False, "keys": []}
    told |= {"autorenew_until": None, "standing_until": None, "operations": [], "newest_operation": OPERATION}
    return told | {"owner": "pi@a.example", "ips": [], "agents": [], "needs": {}}


def ad(node: str) -> dict[str, Any]:
    told = {"agent": "a", "node": f"n{node}", "address": node, "site": f"Site {node.split('.')[1]}", "simulated": False}
    return told | {"slots": 8, "slots_free": 0 if node in BAD else 3, "memory_free_mb": 512, "max_leaselen": 3600}


def event(seq: int, node: str | None, kind: str, **more: Any) -> dict[str, Any]:
    told = {"operation": OPERATION, "seq": seq, "at": NOW, "type": kind, "node": node, "kind": "newvms", "ok": True}
    return told | {"code": None, "reason": None, "before": None, "after": None, "detail": {}, "verb": "renew"} | more


EVENTS_OF_ALL = [
    event(1, None, "started", detail={"nodes": MANY}),
    *(event(seq, node, "node", ok=node not in BAD) for seq, node in enumerate(NODES, 2)),
    event(MANY + 2, None, "ended", detail={"outcome": "partial", "ok": MANY - 40, "failed": 40}),
]
TROUBLES = [{"slice": "big", "node": node, "what": "keys", "since": NOW, "reason": None} for node in BAD]
SUMMARY = {"operation": OPERATION, "verb": "createslice", "slice": "big", "outcome": "partial", "seq": MANY + 2}


class Client:
    """A browser that has come in, without a socket."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._headers = [(b"host", door.address.encode()), (b"cookie", b"")]
        self._headers[1] = (b"cookie", door.enter(door.link.rpartition("/")[2]).partition(";")[0].encode())

    def get(self, target: str) -> tuple[int, str]:
        """Status and text."""
        path, _, query = target.partition("?")
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "http_version": "1.1"}
        scope |= {"headers": self._headers, "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            sent.append(message)

        async def answered() -> None:
            await self._app(scope, receive, send)

        asyncio.run(answered())
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A browser that has come in."""
    slices = [slice_(f"big{number}" if number else "big") for number in range(SLICES)]
    told = {"now": NOW, "slices": slices, "troubles": TROUBLES, "roles": [], "agents": []}
    answers = {
        "/doctor": told,
        "/slices": {"slices": slices},
        "/slices/big": {**slice_("big"), "slivers": [sliver(node) for node in NODES]},
        "/slices/big/history?limit=300": {"events": EVENTS_OF_ALL[-300:]},
        "/slices/big/history?limit=1000": {"events": EVENTS_OF_ALL[-1000:]},
        "/ads": {"ads": [ad(node) for node in NODES]},
        f"/operations/{OPERATION}": SUMMARY | dict.fromkeys(("reason", "code", "ended_at"), None) | {"started_at": NOW},
    }
    with pytest.MonkeyPatch.context() as patch, answering(tmp_path_factory.mktemp("svmd")) as home:
        patch.setenv("PLANETLAB_HOME", str(home))
        patch.setenv("DSLICE_PLC_URL", PLC)
        for path, answer in answers.items():
            patch.setitem(ANSWERS, path, answer)
        kept = EVENTS[:]
        EVENTS[:] = EVENTS_OF_ALL
        door = Door("127.0.0.1:80", "svm web")
        asking = Asking(Home.find(), Flags())
        yield Client(create_app(PROGRAM, asking, door), door)
        asking.close()
        EVENTS[:] = kept


@pytest.mark.parametrize(
    "path",
    [
        "/slices",
        "/slices/big",
        "/slices/big?show=all",
        "/slices/big/history",
        "/nodes",
        "/nodes?site=Site+3",
        "/nodes?only=free",
        f"/operations/{OPERATION}",
        f"/operations/{OPERATION}?page=25",
    ],
)
def test_a_page_about_very_many_is_light(client: Client, path: str) -> None:
    status, text = client.get(path)
    assert status == 200
    assert len(text.encode()) <= MOST
    assert json.loads(client.get(f"{path}{'&' if '?' in path else '?'}format=json")[1])


def test_of_many_nodes_those_with_something_wrong_are_shown(client: Client) -> None:
    cells = re.findall(r'href="/nodes/([0-9.]+)"><b>', client.get("/slices/big")[1])
    assert set(cells) == BAD
    rest = client.get("/slices/big?show=all")[1]
    assert "Page 1 of 25" in rest
    assert "5,000" in rest


def test_of_many_leases_those_alike_share_a_bar(client: Client) -> None:
    assert "4,960 nodes" in client.get("/slices/big")[1]


def test_the_failed_nodes_of_an_operation_come_first(client: Client) -> None:
    nodes = re.findall(r'<th scope="row"><a href="/nodes/([0-9.]+)"', client.get(f"/operations/{OPERATION}")[1])
    assert set(nodes[:40]) == BAD


def test_the_script_is_small() -> None:
    static = Path(__file__).parents[3] / "svm" / "web" / "static"
    assert sum(path.stat().st_size for path in static.glob("*.js")) <= SCRIPT
