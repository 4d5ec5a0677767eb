"""`PUT /ads/{node}`: what a node may say of itself, and how it says that nothing has changed.

An ASGI application of its own, without FastAPI: each node calls every few seconds, and hardly anybody else does.
"""

from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from cryptography import x509
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from agent.ads import Said
from agent.client import Ad, FrontDoor, returned_to_json
from agent.writer import Writer
from rpc import problems
from rpc.calls import parsed
from rpc.guard import CALLER
from trust.clock import Clock
from trust.documents import MAX_LEASELEN
from trust.errors import Code, Refusal
from trust.needs import DIGEST, IMAGE
from trust.peers import Peer
from trust.sshkeys import PublicKey, parse_public_key

MAX_COUNT = 2**31 - 1
MAX_LISTED = 10_000  # addresses in one request, burnt tickets in one advertisement
MAX_IMAGES = 64
REMEMBERED = 8_192  # front doors' keys and certificates that were looked at
PRECONDITION_FAILED = 412
NOT_CHANGED = Response(status_code=204)


@lru_cache(REMEMBERED)
def _address(text: str) -> str:
    return str(ip_address(text))


@lru_cache(REMEMBERED)
def _host_key(text: str) -> str:
    """Written anew and without its comment: what svm and nodes put into known_hosts is ours, letter by letter."""
    try:
        key = parse_public_key(text)
    except Refusal as refusal:
        raise ValueError(refusal.reason) from refusal
    return PublicKey(key.type, key.blob, "").line


Address = Annotated[str, Field(max_length=64), AfterValidator(_address)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
ImageName = Annotated[str, Field(pattern=IMAGE.pattern)]
Digest = Annotated[str, Field(pattern=DIGEST.pattern)]
Word = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
Jti = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class FrontDoorBody(BaseModel):
    """Where SSH answers."""

    model_config = ConfigDict(strict=True)
    address: Address
    port: Annotated[int, Field(ge=1, le=65_535)]
    host_key: Annotated[str, Field(max_length=16_384), AfterValidator(_host_key)]


class AdBody(BaseModel):
    """What is in it. Members that are not known here are passed over: nodes may be newer than their agent."""

    model_config = ConfigDict(strict=True)
    node: str
    address: Address
    api: Annotated[str, Field(max_length=256)]
    site: Annotated[str, Field(pattern=r"^[ -~]{1,64}$")]
    slots_free: Count
    slots: Count
    memory_free_mb: Count
    max_leaselen: Annotated[int, Field(ge=1, le=MAX_LEASELEN)]
    frontdoor: FrontDoorBody
    simulated: bool
    burnt: Annotated[list[Jti], Field(max_length=MAX_LISTED)] = []
    disk_free_mb: Count | None = None
    memory_mb: Count | None = None
    disk_mb: Count | None = None
    sliver_mb: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    most_processes: Count | None = None
    disk_unpromised_mb: Count | None = None
    images: Annotated[dict[ImageName, Digest], Field(max_length=MAX_IMAGES)] | None = None
    quota: Annotated[str, Field(pattern=r"^[a-z]{1,16}$")] | None = None
    slivers: Count | None = None
    version: Word | None = None
    driver: Word | None = None

    def said(self, now: datetime) -> Said:
        """The same for `agent.ads`; the advertisement's end is the agent's to set."""
        door = FrontDoor(self.frontdoor.address, self.frontdoor.port, self.frontdoor.host_key)
        members = {name: getattr(self, name) for name in AdBody.model_fields if name not in {"burnt", "frontdoor"}}
        return Said(Ad(**members, frontdoor=door, expires_at=now), self.burnt)


class Intake:
    """An ASGI application for `rpc.guard.Guarded`."""

    def __init__(self, clock: Clock, writer: Writer) -> None:
        self._clock = clock
        self._writer = writer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]  # whole: rpc/body_limit.py has read it
        response = await self._answer(scope, scope[CALLER], body)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, peer: Peer, body: bytes) -> Response:
        node, headers = scope["path_params"]["node"], dict(scope["headers"])
        tag = None if body else headers.get(b"if-match", b"").decode("latin-1")
        if not tag:
            media_type = headers.get(b"content-type", b"").decode("latin-1")
            said = parsed(AdBody, body, media_type).said(self._clock.now())
            check_ad(said.ad, node, peer)
            back, tag = await self._writer.put(said)
            return JSONResponse({"returned": [returned_to_json(one) for one in back]}, headers={"ETag": tag})
        check_name(node, peer)
        try:
            back = await self._writer.keep(node, tag)
        except Refusal as refusal:
            scope[problems.CODE] = refusal.code
            return problems.response(refusal, PRECONDITION_FAILED)
        return JSONResponse({"returned": [returned_to_json(one) for one in back]}) if back else NOT_CHANGED


def check_name(node: str, peer: Peer) -> None:
    """A node speaks for itself only. Raises Refusal(NOT_ALLOWED)."""
    if node != peer.identity.name:
        raise Refusal(Code.NOT_ALLOWED, f"{peer.identity} may advertise itself only; correct the node's name")


def check_ad(ad: Ad, node: str, peer: Peer) -> None:
    """A node speaks for itself only, and for the addresses that plc wrote into its certificate.

    Raises:
        Refusal: NOT_ALLOWED, or BAD_INPUT for values that contradict one another.
    """
    check_name(node, peer)
    check_name(ad.node, peer)
    if ad.address not in addresses(peer.certificate):
        raise Refusal(Code.NOT_ALLOWED, f"{ad.address} is not in the certificate of {peer.identity}; enrol again")
    if ad.frontdoor.address != ad.address:
        raise Refusal(Code.BAD_INPUT, "the front door must be at the node's own address; correct its settings")
    if not _is_base_url(ad.api, ad.address):
        raise Refusal(Code.BAD_INPUT, f"api must be https://{ad.address}:PORT; correct the node's settings")
    if ad.slots_free > ad.slots:
        raise Refusal(Code.BAD_INPUT, "slots_free is more than slots; correct the node's settings")


@lru_cache(REMEMBERED)
def addresses(certificate: x509.Certificate) -> frozenset[str]:
    """The IP addresses in a certificate's subjectAltName."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return frozenset(str(address) for address in names.get_values_for_type(x509.IPAddress))


def _is_base_url(url: str, address: str) -> bool:
    # Compared with what it must be, so that nothing else (a path, a user, another host) can hide in it.
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    host = f"[{address}]" if ":" in address else address
    return port is not None and url == f"https://{host}:{port}"
