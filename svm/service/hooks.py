"""Hooks of a slice: where its owner is told by HTTP of what happens to it (docs/letters.md, "Hooks")."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from lifecycle import hooks, slices
from lifecycle.operations import lock_named
from models.states import HookState, SliceState
from rpc.server import Guard
from rpc.webhooks import MOST_URL, check_url
from svm.service.authorization import require_pi
from svm.service.context import Service
from svm.service.reads import even_if_gone
from trust.actions import Action
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.names import check_slice_name
from trust.peers import Peer

Url = Annotated[str, Field(min_length=1, max_length=MOST_URL)]

UrlQuery = Annotated[str, Query(max_length=MOST_URL)]


class HookBody(BaseModel):
    """`PUT /slices/{name}/hooks`: where, and of what."""

    model_config = ConfigDict(extra="forbid")
    url: Url
    states: Annotated[list[HookState], Field(min_length=1, max_length=len(HookState))]


class UrlBody(BaseModel):
    """`POST /slices/{name}/hooks/test`: which one."""

    model_config = ConfigDict(extra="forbid")
    url: Url


def add_hooks(app: FastAPI, service: Service, guard: Guard) -> None:
    """`GET|PUT|DELETE /slices/{name}/hooks`, `POST /slices/{name}/hooks/test`."""
    users, changers = Depends(guard.role(Role.USER)), Depends(guard.role(Role.USER, action=Action.ACCESS))
    removers = Depends(guard.role(Role.USER, action=Action.DELETE))

    @app.get("/slices/{name}/hooks")
    def get_hooks(name: str, peer: Annotated[Peer, users]) -> dict[str, Any]:
        with service.engine.connect() as connection:
            found = even_if_gone(connection, check_slice_name(name), peer.identity)
            return {"hooks": [_json(hook) for hook in hooks.listed(connection, found.id)]}

    @app.put("/slices/{name}/hooks")
    def put_hook(name: str, body: HookBody, peer: Annotated[Peer, changers]) -> dict[str, Any]:
        require_pi(peer)
        url, states = check_url(body.url, service.hooks_allow), list(dict.fromkeys(body.states))
        with service.engine.begin() as connection:
            row = _open(connection, name, peer)
            secret = hooks.put(connection, row, url, states, service.seal)
        return {"url": url, "states": states, "secret": secret}

    @app.delete("/slices/{name}/hooks")
    def delete_hook(name: str, url: UrlQuery, peer: Annotated[Peer, removers]) -> dict[str, Any]:
        require_pi(peer)
        with service.engine.begin() as connection:
            found = slices.find(connection, check_slice_name(name), peer.identity)
            hooks.remove(connection, found.id, url)
        return {"url": url}

    @app.post("/slices/{name}/hooks/test", status_code=202)
    def post_test(name: str, body: UrlBody, peer: Annotated[Peer, changers]) -> dict[str, Any]:
        require_pi(peer)
        with service.engine.begin() as connection:
            return {"delivery": str(hooks.try_out(connection, _open(connection, name, peer), body.url))}


def _open(connection: Connection, name: str, peer: Peer) -> UUID:
    """The row of the caller's open slice, locked. Raises Refusal(NOT_FOUND | NOT_OWNER)."""
    lock_named(connection, check_slice_name(name))
    found = slices.find(connection, name, peer.identity)
    if found.state is not SliceState.OPEN:
        raise Refusal(Code.NOT_FOUND, f"{name} is being deleted: svm status {name} shows what is left")
    return found.id


def _json(hook: hooks.Hook) -> dict[str, Any]:
    """With what it was last told: `last` is None where there was nothing yet."""
    times = ("at", "sent_at", "given_up_at", *(() if hook.sent_at or hook.given_up_at else ("next_try_at",)))
    last = {name: getattr(hook, name) for name in ("delivery", "about", *times, "status", "last_error", "attempts")}
    shown = {name: _plain(value) for name, value in last.items()} if hook.delivery else None
    return {"url": hook.url, "states": list(hook.states), "made_at": hook.made_at.isoformat(), "last": shown}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
