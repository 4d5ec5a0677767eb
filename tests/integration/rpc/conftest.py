"""One CA and the usual certificates for all of these tests: keys take time to make."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import Body, Depends, FastAPI
from starlette.requests import Request

from rpc.credentials import Credentials
from rpc.server import Guard, application, open_route
from tests.integration.rpc.lab import NODE, SVM, Lab, serving
from trust.actions import Action
from trust.identity import Role
from trust.peers import Peer


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def node(lab: Lab) -> Credentials:
    return lab.credentials(NODE)


@pytest.fixture(scope="session")
def svm(lab: Lab) -> Credentials:
    return lab.credentials(SVM)


@pytest.fixture(params=["aio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two clients, which must behave alike."""
    return str(request.param)


def make_app(guard: Guard) -> FastAPI:
    """A service that says who called; ``app.state.connections`` are the clients' ports seen so far."""
    app = application("test")
    app.state.connections = set()

    @app.middleware("http")
    async def count(request: Request, call_next):  # type: ignore[no-untyped-def]
        assert request.client is not None
        app.state.connections.add(request.client.port)
        return await call_next(request)

    @app.get("/who")
    async def who(peer: Annotated[Peer, Depends(guard.role(Role.SVM))]) -> dict[str, str]:
        return {"who": str(peer.identity)}

    @app.put("/change")
    async def change(
        peer: Annotated[Peer, Depends(guard.role(Role.SVM, action=Action.CREATE))],
        wish: Annotated[dict[str, int], Body()],
    ) -> dict[str, int]:
        return wish

    @app.get("/agents-only")
    async def agents_only(peer: Annotated[Peer, Depends(guard.role(Role.AGENT))]) -> None: ...

    @app.get("/open")
    @open_route
    async def opened(request: Request) -> dict[str, object]:
        return {"client": request.client.host if request.client else None, "scheme": request.url.scheme}

    return app


@pytest.fixture
def app(lab: Lab) -> FastAPI:
    return make_app(Guard(lab.store()))


@pytest.fixture
def url(lab: Lab, node: Credentials, app: FastAPI) -> Iterator[str]:
    """The app, served as NODE."""
    with serving(lab.listener(app, node)) as (base,):
        yield base
