"""Signed JSON to a URL that a user chose, as Standard Webhooks has it: id, time and HMAC-SHA256 in three headers.

Whoever can have a server call any address can reach through it what only the server reaches. So a webhook goes to
public addresses alone, and to those that the operator allows; what is checked is the address that is connected to,
whatever its name resolved to before. Redirects are not followed, and nothing of the answer but its status is used.
"""

import base64
import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import aiohttp

from rpc.fate import Fate
from rpc.settings import Network
from rpc.tls import public_context
from trust.errors import Code, Refusal, printable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SECONDS = 15  # for the whole of one try
MOST_URL = 2_000  # characters
PREFIX = "whsec_"  # of a secret, as Standard Webhooks writes it
SECRET_BYTES = 32
GONE = 410  # the answer that says: never again
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_LOCAL = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("fec0::/10"))  # RFC 8215, RFC 3879
_ALLOW = "the operator of svmd can allow it (DSLICE_HOOKS_ALLOW)"


def new_secret() -> str:
    """For one hook."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    said = f"{id}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, said, "sha256")).decode()


def check_url(url: str, allowed: Sequence[Network]) -> str:
    """The same URL where a hook may have it. Its name is looked up when it is called.

    Raises Refusal(BAD_INPUT | NOT_ALLOWED).
    """
    parts = _split(url)
    host = (parts.hostname or "").rstrip(".")
    if (address := _literal(host)) is not None and (reason := why_not(address, allowed)) is not None:
        raise Refusal(Code.NOT_ALLOWED, f"{reason}; {_ALLOW}")
    if parts.scheme == "http" and not allowed:
        raise Refusal(Code.NOT_ALLOWED, f"a hook is called by https:// only; for http:// to an address {_ALLOW}")
    return url


def why_not(address: Address, allowed: Sequence[Network]) -> str | None:
    """Why a webhook does not go to this address; None where it may."""
    plain = _plain(address)
    if any(plain in network for network in allowed):
        return None
    if not plain.is_global or plain.is_multicast or any(plain in network for network in _LOCAL):
        return f"{address} is a loopback, private or reserved address"
    return f"{address} is an address of svmd's own machine" if _is_ours(plain) else None


@dataclass(frozen=True, slots=True)
class Message:
    """What is to go where."""

    url: str
    id: str
    secret: str = field(repr=False)
    body: bytes

    def headers(self, timestamp: int) -> dict[str, str]:
        """Of one try; the id is the same at each."""
        return {
            "Content-Type": "application/json",
            "User-Agent": "dslice",
            "webhook-id": self.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self.secret, self.id, timestamp, self.body),
        }


class Sender:
    """Sends webhooks to public addresses and to those in `allowed`."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)
        self._context = public_context()

    async def send(self, message: Message) -> tuple[Fate, str, int | None]:
        """What became of it, why, and the status of the answer if there was one."""
        refused: list[str] = []
        plain = urlsplit(message.url).scheme == "http"

        def made(info: aiohttp.AddrInfoType) -> socket.socket:
            address = ipaddress.ip_address(str(info[4][0]).partition("%")[0])
            if (reason := self._why_not(address, plain=plain)) is not None:
                refused.append(reason)
                raise OSError(reason)
            return socket.socket(info[0], info[1], info[2])

        connector = aiohttp.TCPConnector(ssl=self._context, socket_factory=made, force_close=True)
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as http:
                return await _post(http, message)
        except TimeoutError:
            return Fate.LATER, f"no answer within {SECONDS} s", None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Fate.LATER, refused[0] if refused else printable(str(error) or type(error).__name__, 200), None

    def _why_not(self, address: Address, *, plain: bool) -> str | None:
        if plain and not any(_plain(address) in network for network in self._allowed):
            return f"{address} is called by https:// only"
        return why_not(address, self._allowed)


async def _post(http: aiohttp.ClientSession, message: Message) -> tuple[Fate, str, int | None]:
    headers = message.headers(int(time.time()))
    async with http.post(message.url, data=message.body, headers=headers, allow_redirects=False) as response:
        status = response.status
    if 200 <= status < 300:
        return Fate.SENT, "", status
    if 300 <= status < 400:
        return Fate.LATER, f"it answered {status}, and a hook follows no redirect", status
    said = f"it answered {status}"
    return (Fate.NEVER, f"{said}: it wants no more", status) if status == GONE else (Fate.LATER, said, status)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port != 0
    except ValueError:
        parts, port = urlsplit(""), False
    bare = "@" not in parts.netloc and not parts.fragment and url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("https", "http") or not parts.hostname or not port or not bare or len(url) > MOST_URL:
        raise Refusal(Code.BAD_INPUT, f"{url[:60]!a} is not https://HOST[:PORT]/PATH without a password or #part")
    return parts


def _literal(host: str) -> Address | None:
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _is_ours(address: Address) -> bool:
    """Whether this machine would call itself there: then it would call from that very address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:  # connecting sends nothing
            trial.connect((str(address), 9))
            return ipaddress.ip_address(trial.getsockname()[0]) == address
    except OSError:
        return False
