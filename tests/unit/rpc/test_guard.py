"""Who may call a route, and that no route is forgotten."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import Response
from starlette.routing import Mount, Route

from rpc.guard import Guard, deny_by_default, open_route
from rpc.server import application
from tests.unit.rpc.asgi import ask
from trust.actions import Action
from trust.certificates import Authority, new_private_key
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.peers import Peer
from trust.store import TrustStore

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class SetClock:
    time: datetime = START

    def now(self) -> datetime:
        return self.time


class Service:
    """A service with a guard, and its CA."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.authority = Authority.create(START)
        self.store = TrustStore(self.authority.certificate, self.clock)
        self.revoke(number=1)
        self.guard = Guard(self.store)
        self.app = application("test")
        user, changer = self.guard.role(Role.USER), self.guard.role(Role.USER, Role.SVM, action=Action.CREATE)

        @self.app.get("/who")
        async def who(peer: Annotated[Peer, Depends(user)]) -> str:
            return str(peer.identity)

        @self.app.put("/change")
        async def change(peer: Annotated[Peer, Depends(changer)]) -> str:
            return str(peer.identity)

        @self.app.get("/open")
        @open_route
        async def opened() -> None: ...

        deny_by_default(self.app)

    def revoke(self, *serials: int, number: int) -> None:
        now = self.clock.now()
        crl = self.authority.sign_crl([(serial, now) for serial in serials], number=number, now=now)
        self.store.update(crl)

    def certificate(self, identity: Identity, lifetime: int = 3600) -> tuple[bytes, int]:
        """DER and serial."""
        key = new_private_key(identity.role)
        certificate = self.authority.issue(identity, key.public_key(), now=self.clock.now(), lifetime=lifetime)
        return certificate.public_bytes(Encoding.DER), certificate.serial_number

    async def code(self, path: str, peer: bytes | None, method: str = "GET") -> tuple[int, str]:
        answer = await ask(self.app, method, path, peer=peer)
        return answer.status, answer.body["code"] if answer.status != 200 else "ok"


ALICE = Identity.user("alice@lab.example")
SVM = Identity(Role.SVM, "lab")


@pytest.fixture
def service() -> Service:
    return Service()


async def test_the_right_role_gets_in(service: Service) -> None:
    der, _ = service.certificate(ALICE)
    answer = await ask(service.app, "GET", "/who", peer=der)
    assert answer.body == ALICE.uri
    assert await service.code("/change", service.certificate(SVM)[0], "PUT") == (200, "ok")


async def test_no_certificate(service: Service) -> None:
    assert await service.code("/who", None) == (401, "not-authenticated")
    assert await service.code("/open", None) == (200, "ok")


async def test_another_role(service: Service) -> None:
    assert await service.code("/who", service.certificate(SVM)[0]) == (403, "not-allowed")
    # What one route has verified is not good for another route.
    der, _ = service.certificate(SVM)
    assert await service.code("/change", der, "PUT") == (200, "ok")
    assert await service.code("/who", der) == (403, "not-allowed")


async def test_another_ca(service: Service) -> None:
    assert await service.code("/who", Service().certificate(ALICE)[0]) == (401, "not-authenticated")


async def test_garbage_for_a_certificate(service: Service) -> None:
    assert await service.code("/who", b"\x30\x00") == (401, "not-authenticated")


async def test_a_certificate_that_expires_between_two_requests(service: Service) -> None:
    der, _ = service.certificate(ALICE, lifetime=60)
    assert await service.code("/who", der) == (200, "ok")
    service.clock.time += timedelta(seconds=61)
    assert await service.code("/who", der) == (401, "not-authenticated")


async def test_a_clock_that_is_set_back_between_two_requests(service: Service) -> None:
    der, _ = service.certificate(ALICE)
    assert await service.code("/who", der) == (200, "ok")
    service.clock.time -= timedelta(days=1)
    assert await service.code("/who", der) == (401, "not-authenticated")


async def test_a_certificate_that_is_revoked_between_two_requests(service: Service) -> None:
    der, serial = service.certificate(ALICE)
    assert await service.code("/who", der) == (200, "ok")
    service.revoke(serial, number=2)
    assert await service.code("/who", der) == (401, "revoked")


async def test_an_old_revocation_list_stops_changes_only(service: Service) -> None:
    service.clock.time += timedelta(seconds=301)
    der, _ = service.certificate(ALICE)
    assert await service.code("/change", der, "PUT") == (503, "crl-stale")
    assert await service.code("/who", der) == (200, "ok")


def test_recheck_for_streams(service: Service) -> None:
    der, serial = service.certificate(ALICE)
    peer = service.store.peer(der, {Role.USER})
    assert service.guard.recheck(peer).identity == ALICE
    service.revoke(serial, number=2)
    with pytest.raises(Refusal) as caught:
        service.guard.recheck(peer)
    assert caught.value.code is Code.REVOKED


async def test_a_certificate_is_verified_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    der, _ = service.certificate(ALICE)
    assert await service.code("/who", der) == (200, "ok")
    monkeypatch.setattr("trust.store.authentic", None)
    assert await service.code("/who", der) == (200, "ok")


def test_a_guard_names_roles(service: Service) -> None:
    with pytest.raises(ValueError, match="roles"):
        service.guard.role()


def _bare(app: FastAPI, _guard: Guard) -> None:
    @app.get("/bare")
    async def bare() -> None: ...


def _included(app: FastAPI, _guard: Guard) -> None:
    router = APIRouter()

    @router.get("/bare")
    async def bare() -> None: ...

    app.include_router(router, prefix="/api")


def _mounted(app: FastAPI, _guard: Guard) -> None:
    app.router.routes.append(Mount("/files", routes=[]))


def _plain(app: FastAPI, _guard: Guard) -> None:
    async def endpoint(_request: Any) -> Response:
        return Response()

    app.router.routes.append(Route("/plain", endpoint))


def _socket(app: FastAPI, _guard: Guard) -> None:
    @app.websocket("/socket")
    async def socket() -> None: ...


def _other_dependency(app: FastAPI, _guard: Guard) -> None:
    @app.get("/bare", dependencies=[Depends(lambda: None)])
    async def bare() -> None: ...


def _documentation(app: FastAPI, _guard: Guard) -> None:
    app.openapi_url, app.docs_url = "/openapi.json", "/docs"
    app.setup()


@pytest.mark.parametrize("add", [_bare, _included, _mounted, _plain, _socket, _other_dependency, _documentation])
def test_an_app_with_an_unguarded_route_does_not_start(service: Service, add: Callable[[FastAPI, Guard], None]) -> None:
    add(service.app, service.guard)
    with pytest.raises(RuntimeError, match="without a guard"):
        deny_by_default(service.app)


def test_files_served_by_the_framework_do_not_start(service: Service, tmp_path: Any) -> None:
    (tmp_path / "index.html").write_text("hello")
    service.app.frontend("/", directory=tmp_path)
    with pytest.raises(RuntimeError, match="without a guard"):
        deny_by_default(service.app)


def test_guards_of_routers_count(service: Service) -> None:
    router = APIRouter(dependencies=[Depends(service.guard.role(Role.AGENT))])

    @router.get("/inside")
    async def inside() -> None: ...

    async def nested(peer: Annotated[Peer, Depends(service.guard.role(Role.AGENT))]) -> Peer:
        return peer

    @router.get("/nested")
    async def outer(peer: Annotated[Peer, Depends(nested)]) -> None: ...

    service.app.include_router(router, prefix="/api")
    deny_by_default(service.app)
