"""The command line's side of svmd (docs/svmd.md): where it is, who it must be, operations, their events, reads."""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from rpc.blocking import Connection, ServerSentEvent
from rpc.credentials import Credentials
from rpc.reply import REQUEST
from svm.checked import Own, checked, look
from svm.files import write_private
from svm.flags import Flags
from svm.home import Home
from svm.request import Request
from trust.clock import Clock, system_clock
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

if TYPE_CHECKING:
    from plc.client import Directory

CACHE_SECONDS = 600
"""How long plc's directory is believed without asking again; a svmd that does not answer there is looked up anew."""
CACHE = "directory.json"
PAUSES = (0.3, 0.7, 1.5)
"""Seconds before each new try of a call whose answer may be lost; the Idempotency-Key makes them one operation."""
CALL_PATIENCE = 15
"""Seconds after which a failed call is not tried again."""
STREAM_PATIENCE = 60
"""Seconds that a broken event stream is taken up again before the user is told how to follow later."""


_PASSING = (Code.UNREACHABLE, Code.TIMEOUT, Code.WRONG_CERTIFICATE)
# A wrong certificate passes too: after a restart another service may answer where svmd was.


@dataclass(frozen=True, slots=True)
class Started:
    """An operation that svmd has written down."""

    operation: str
    slice: str
    existing: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where svmd answers, and the identity that users delegate to."""

    url: str
    svm: Identity


class Svmd:
    """svmd as this user: one connection, opened at the first call. Every method raises Refusal."""

    room = ""
    """What all paths begin with."""

    def __init__(
        self, home: Home, flags: Flags, clock: Clock | None = None, *, credentials: Credentials | None = None
    ) -> None:
        """`credentials`: None: those of `home`, which have to be a user's, kept as his key directory is."""
        self.home = home
        self.credentials: Credentials = credentials or home.require_certificate()
        self._own: Callable[[], Own] = partial(look if credentials else checked, self.credentials)
        self._flags = flags
        self._clock = clock or system_clock()
        self._connection: Connection | None = None
        self._doubted = False
        self._opening = Lock()
        self.request_id = str(uuid4())
        """In the logs of all daemons, beside what they did for the call (docs/protocol.md, "Calls")."""

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @cached_property
    def _place(self) -> Endpoint:
        return find_svmd(self.home, self.credentials, patience=0 if self._doubted else CACHE_SECONDS)

    def start(self, request: Request) -> Started:
        """Ask for an operation, once, however often the answer is lost on the way."""
        id = self.request_id = str(uuid4())
        headers = {"Idempotency-Key": id, REQUEST: id}  # not what another thread may have asked for since
        if request.slice:
            headers["Dslice-Delegation"] = self._delegation(request.slice)
        if request.makes_leases:
            headers["Dslice-Renewal"] = self._delegation(request.slice, standing=True)
        standing = None
        if request.needs_standing:
            standing = self._delegation(request.slice, standing=True, heal=request.standing_heal)
        body = request.to_json(self._flags, standing)
        found = self._repeated("POST", "/operations", body, headers)
        return Started(str(found["operation"]), str(found["slice"]), bool(found.get("existing")))

    def events(self, operation: str, end: float | None = None) -> Iterator[dict[str, Any]]:
        """Every event that is shown, in order, from the first to `ended`, taken up again after a broken stream.

        Refusal(TIMEOUT) at `end` (monotonic), where that comes first.
        """
        seq, deadline, ended = 0, time.monotonic() + STREAM_PATIENCE, False
        while not ended:
            try:
                with closing(self._stream(operation, seq, end)) as stream:
                    for sent in stream:
                        event = _event(sent)
                        seq, deadline = int(event["seq"]), time.monotonic() + STREAM_PATIENCE
                        self._doubted, ended = False, event["type"] == "ended"
                        yield event
            except Refusal as refusal:
                if ended:
                    return
                if refusal.code not in _PASSING or time.monotonic() > min(deadline, end or deadline):
                    raise
                self._look_again()
            if not ended:
                time.sleep(PAUSES[0])

    def operation(self, operation: str) -> dict[str, Any]:
        return self.get(f"/operations/{quote(operation, safe='')}")

    def cancel(self, operation: str) -> dict[str, Any]:
        return self._repeated("DELETE", f"/operations/{quote(operation, safe='')}")

    def slice(self, name: str) -> dict[str, Any]:
        """A slice with its slivers, its open operations and the newest operation."""
        return self.get(f"/slices/{quote(name, safe='')}")

    def slices(self, *, purgeable: bool = False) -> list[dict[str, Any]]:
        query = {"purgeable": "true"} if purgeable else {}
        return list(self.get("/slices", query)["slices"])

    def doctor(self) -> dict[str, Any]:
        """What svmd knows to be wrong, with the caller's slices, its agents, its roles and its clock."""
        return self.get("/doctor")

    def history(self, name: str, limit: int) -> list[dict[str, Any]]:
        return list(self.get(f"/slices/{quote(name, safe='')}/history", {"limit": str(limit)})["events"])

    def hooks(self, name: str) -> list[dict[str, Any]]:
        """Where it is told of what happens to the slice, each with what it was last told (docs/svmd.md)."""
        return list(self.get(_hooks_of(name))["hooks"])

    def put_hook(self, name: str, url: str, states: Sequence[str]) -> dict[str, Any]:
        """The hook, with its new secret, which is said this once."""
        return self._repeated("PUT", _hooks_of(name), {"url": url, "states": list(states)})

    def remove_hook(self, name: str, url: str) -> None:
        self._repeated("DELETE", f"{_hooks_of(name)}?{urlencode({'url': url})}")

    def test_hook(self, name: str, url: str) -> str:
        """The delivery."""
        return str(self._repeated("POST", f"{_hooks_of(name)}/test", {"url": url})["delivery"])

    def ads(self, agent: str | None) -> list[dict[str, Any]]:
        return list(self.get("/ads", {"agent": agent} if agent else {})["ads"])

    def plan(self, body: Mapping[str, object]) -> list[dict[str, Any]]:
        """Which nodes createslice would take now; nothing is taken."""
        return list(self._repeated("POST", "/plans", body)["nodes"])

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self._repeated("GET", f"{path}?{urlencode(query)}" if query else path)

    def _repeated(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """A call that may be repeated without harm, while the service cannot be reached or the answer is lost."""
        first = time.monotonic()
        for pause in PAUSES:
            try:
                found = self._called(method, path, body, headers)
            except Refusal as refusal:
                if refusal.code not in _PASSING or time.monotonic() - first > CALL_PATIENCE:
                    raise
                self._look_again()
                time.sleep(pause)
            else:
                self._doubted = False  # a process that lives for days may see svmd move more than once
                return found
        return self._called(method, path, body, headers)

    def _called(self, method: str, path: str, body: object, headers: Mapping[str, str] | None) -> dict[str, Any]:
        """One try, under the request's id, which a refusal names too."""
        named = {REQUEST: self.request_id, **(headers or {})}
        try:
            return _object(self._open().call(method, self.room + path, json=body, headers=named).body)
        except Refusal as refusal:
            refusal.detail = {**refusal.detail, "request": self.request_id}
            raise

    def _open(self) -> Connection:
        with self._opening:
            connection = self._connection
            if connection is None:
                place = self._place
                connection = Connection(place.url, credentials=self.credentials, expect=place.svm)
                self._connection = connection
            return connection

    def _look_again(self) -> None:
        """Ask plc, once, whether svmd has moved since it was last asked."""
        self.close()
        if not self._doubted:
            self._doubted = True
            self.__dict__.pop("_place", None)

    def _stream(self, operation: str, seq: int, end: float | None) -> Generator[ServerSentEvent, None, None]:
        path = f"{self.room}/operations/{quote(operation, safe='')}/events?brief=true"
        after = {"Last-Event-ID": str(seq)} if seq else {}
        yield from self._open().stream(path, {REQUEST: self.request_id, **after}, end=end)

    def _delegation(self, name: str, *, standing: bool = False, heal: bool = False) -> str:
        """A delegation to svmd for one slice, signed with the user's key; it never outlives the certificate."""
        from trust.documents import DelegationKind, sign_delegation, working_delegation

        own = self._own()
        signed = working_delegation(own.identity, self._place.svm, name, own, self._clock.now())
        if standing:
            end = own.not_valid_after_utc
            signed = replace(signed, kind=DelegationKind.STANDING, expires_at=end, heal=heal)
        return sign_delegation(signed, self.credentials.key, own)


def find_svmd(home: Home, credentials: Credentials, *, patience: int = CACHE_SECONDS) -> Endpoint:
    """Where svmd is, by plc's directory, which is asked when its last answer is older than `patience` seconds.

    When plc does not answer, or is in trouble itself, what it said last counts, however old. Raises Refusal when there
    is nothing.
    """
    kept, age = _kept(home)
    if kept is not None and age < patience:
        return kept
    from plc.client import Plc

    try:
        with closing(Plc(home.require_plc(), credentials)) as plc:
            place = place_of(home, plc.directory())
    except Refusal as refusal:
        if kept is None or refusal.code not in (*_PASSING, Code.INTERNAL):
            raise
        return kept
    _keep(home, place)
    return place


def place_of(home: Home, directory: "Directory") -> Endpoint:
    """svmd of plc's directory, at the URL that the user's settings have for it, if they do. Raises Refusal."""
    url = home.svmd_url or directory.svmd
    if url is None or directory.svm is None:
        raise Refusal(Code.UNREACHABLE, "plc knows no service manager yet; start svmd, or try again in a minute")
    return Endpoint(url, directory.svm)


def _kept(home: Home) -> tuple[Endpoint | None, float]:
    path = home.directory / CACHE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        age = time.time() - path.stat().st_mtime
        if found["plc"] != home.plc_url or (home.svmd_url and found["svmd"] != home.svmd_url):
            return None, 0
        svm = Identity.parse(found["svm"])
        return (Endpoint(str(found["svmd"]), svm), abs(age)) if svm.role is Role.SVM else (None, 0)
    except (OSError, ValueError, KeyError, TypeError, Refusal):
        return None, 0


def _keep(home: Home, place: Endpoint) -> None:
    text = json.dumps({"plc": home.plc_url, "svmd": place.url, "svm": place.svm.uri})
    write_private(home.directory / CACHE, text + "\n")


def _hooks_of(name: str) -> str:
    return f"/slices/{quote(name, safe='')}/hooks"


def moment(text: object) -> datetime:
    """A time as svmd writes it (ISO 8601 with zone)."""
    return datetime.fromisoformat(str(text))


def _event(sent: ServerSentEvent) -> dict[str, Any]:
    try:
        found = json.loads(sent.data)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("seq"), int):
        raise Refusal(Code.INTERNAL, "svmd sent an event that makes no sense; update svm, or tell its operator")
    return found


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(Code.INTERNAL, "svmd's answer makes no sense; update svm, or tell its operator")
    return body
