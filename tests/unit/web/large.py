"""A lab of any size as plc, an agent and svmd would tell of it, and pages about that: for tests and a benchmark."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message

from admin.lab.reach import Reach
from admin.web.everyones import Operating
from admin.web.routes import PROGRAM as OPERATORS
from plc.client import PLC, Plc
from rpc.credentials import Credentials
from svm.flags import Flags
from svm.home import Home
from svm.web.app import create_app
from svm.web.asking import Asking
from svm.web.door import Door
from svm.web.routes import PROGRAM
from tests.unit.svm.answering import credentials, listening, who_says
from trust.certificates import Authority
from trust.identity import Identity, Role

NOW = "2026-01-10T12:00:00+00:00"
END = "2026-01-20T12:00:00+00:00"
OPERATION = "7b0e1d52-0000-4000-8000-000000000000"
OWNER = "pi@a.example"


class Large:
    """A slice `big` on all of so many nodes, and others like it; of 125 nodes one has something wrong."""

    def __init__(self, nodes: int, slices: int) -> None:
        self.nodes = [f"10.{number // 250}.{number % 250}.1" for number in range(nodes)]
        self.bad = set(self.nodes[: max(1, nodes // 125)])
        self.names = [f"big{number}" if number else "big" for number in range(slices)]

    def sliver(self, node: str) -> dict[str, Any]:
        told: dict[str, Any] = {"node": node, "name": f"n{node.replace('.', '-')}", "state": "running"}
        told |= {"expires_at": END, "renew_at": None, "last_error": None, "changed_at": NOW, "attempts": 0}
        told |= {"frontdoor": None}
        return told | ({"state": "leased", "last_error": "no answer within 10 s"} if node in self.bad else {})

    def slice(self, name: str) -> dict[str, Any]:
        running = len(self.nodes) - len(self.bad)
        told: dict[str, Any] = {"name": name, "state": "open", "numnodes": len(self.nodes), "leaselen": 1_209_600}
        told |= {"nodes": {"running": running}, "now": NOW, "created_at": NOW, "first_end": END, "autorenew": True}
        told |= {"autorenew_until": None, "standing_until": None, "operations": [], "newest_operation": OPERATION}
        return told | {"heal": False, "keys": [], "owner": OWNER, "ips": [], "agents": [], "needs": {}}

    def ad(self, node: str) -> dict[str, Any]:
        told: dict[str, Any] = {"agent": "a", "node": f"n{node}", "address": node, "site": f"Site {node.split('.')[1]}"}
        told |= {"simulated": False, "slots": 8, "slots_free": 0 if node in self.bad else 3, "memory_free_mb": 512}
        return told | {"max_leaselen": 3600}

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Of `big`."""
        every, last = len(self.nodes), len(self.nodes) + 2
        ok = every - len(self.bad)
        return [
            _event(1, None, "started", detail={"nodes": every}),
            *(_event(seq, node, "node", ok=node not in self.bad) for seq, node in enumerate(self.nodes, 2)),
            _event(last, None, "ended", detail={"outcome": "partial", "ok": ok, "failed": len(self.bad)}),
        ]

    def svmd(self) -> dict[str, Any]:
        """What a user asks, and under `/operator` an operator."""
        slices = [self.slice(name) for name in self.names]
        wrong = [{"slice": "big", "node": node, "what": "keys", "since": NOW, "reason": None} for node in self.bad]
        operation: dict[str, Any] = {
            "operation": OPERATION,
            "verb": "createslice",
            "slice": "big",
            "outcome": "partial",
        }
        operation |= {"seq": len(self.nodes) + 2, "started_at": NOW} | dict.fromkeys(("reason", "code", "ended_at"))
        slivers = [self.sliver(node) for node in self.nodes]
        both = {
            "/doctor": {"now": NOW, "slices": slices, "troubles": wrong, "roles": [], "agents": []},
            "/slices": {"now": NOW, "slices": slices},
            "/slices/big": {**self.slice("big"), "slivers": slivers},
            "/slices/big/history?limit=300": {"events": self.events[-300:]},
            "/slices/big/history?limit=1000": {"events": self.events[-1000:]},
            f"/operations/{OPERATION}": operation,
        }
        at_node = {"slivers": [{**self.sliver(self.nodes[-1]), "slice": name, "owner": OWNER} for name in self.names]}
        of_all = {f"/operator{path}": answer for path, answer in both.items()}
        of_all |= {f"/operator/nodes/{self.nodes[-1]}": at_node}
        return both | {"/ads": {"ads": [self.ad(node) for node in self.nodes]}} | of_all

    def agent(self) -> dict[str, Any]:
        more = {
            "up": True,
            "heard_at": NOW,
            "driver": "machine",
            "version": "1.0.0",
            "slivers": 5,
            "disk_free_mb": 9000,
        }
        return {"/nodes": {"nodes": [self.ad(node) | more | {"images": [], "api": ""} for node in self.nodes]}}

    def plc(self, agent: str, svmd: str, svm: Identity) -> dict[str, Any]:
        who = {"plc": PLC.uri, "ca_fingerprint": "0" * 64, "svmd": svmd, "svm": svm.uri}
        of_node = {"enrolled_at": NOW, **dict.fromkeys(("who", "since"))}
        total = {"owner": OWNER, "granted": 7200, "used": 3600}
        totals = {"since": NOW, "until": END}
        return {
            "/.well-known/planetlab": who | {"agents": [{"name": "a", "url": agent}]},
            "/nodes": {"nodes": [{"name": f"n{node}", "addresses": [node], **of_node} for node in self.nodes]},
            "/usage/everyones?by=node": totals | {"totals": [{"of": f"n{node}", **total} for node in self.nodes]},
            "/usage/everyones?by=user": totals | {"totals": [{"of": OWNER, **total}]},
        }


def _event(seq: int, node: str | None, kind: str, **more: Any) -> dict[str, Any]:
    told = {"operation": OPERATION, "seq": seq, "at": NOW, "type": kind, "node": node, "kind": "newvms", "ok": True}
    return told | {"code": None, "reason": None, "before": None, "after": None, "detail": {}, "verb": "renew"} | more


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


@contextmanager
def users(large: Large, folder: Path) -> Iterator[Client]:
    """A browser that has come in to `svm web`."""
    with _everybody(large, folder) as (directory, who):
        home = Home(directory=who.directory, plc_url=str(directory["plc"]))
        asking = Asking(home, Flags())
        door = Door("127.0.0.1:80", "svm web")
        yield Client(create_app(PROGRAM, asking, door), door)
        asking.close()


@contextmanager
def operators(large: Large, folder: Path) -> Iterator[Client]:
    """A browser that has come in to `dslice web`."""
    with _everybody(large, folder) as (directory, who), Plc(str(directory["plc"]), who) as plc:
        asking = Operating(Reach(plc, who), Flags())
        door = Door("127.0.0.1:80", "dslice web")
        yield Client(create_app(OPERATORS, asking, door), door)
        asking.close()


@contextmanager
def _everybody(large: Large, folder: Path) -> Iterator[tuple[Mapping[str, str], Credentials]]:
    """plc, an agent and svmd, each behind real TLS; the directory that a client keeps, and somebody's certificate."""
    authority = Authority.create(datetime.now(UTC) - timedelta(days=1))
    svm, agent = Identity(Role.SVM, "svm"), Identity(Role.AGENT, "a")

    def of(who: Identity) -> Credentials:
        return credentials(folder / who.role, authority, who)

    with ExitStack() as stack:
        svmd = stack.enter_context(listening(of(svm), who_says(large.svmd(), large.events)))
        at = stack.enter_context(listening(of(agent), who_says(large.agent())))
        plc = stack.enter_context(listening(of(PLC), who_says(large.plc(at, svmd, svm))))
        mine = of(Identity.user(OWNER))
        kept = {"plc": plc, "svmd": svmd, "svm": svm.uri}
        (mine.directory / "directory.json").write_text(json.dumps(kept))
        yield kept, mine
