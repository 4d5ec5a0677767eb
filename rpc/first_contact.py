"""The one call before any CA is trusted: fetch public bytes, to be judged by their content, never by who sent them.

Whoever wants plc's root for the first time has nothing to check plc's server by. Nothing secret may be sent here, and
what comes back counts only once its SHA-256 has been compared with one that came another way
(docs/protocol.md, "Identities").
"""

import http.client
import ssl
from urllib.parse import urlsplit

from rpc.reply import CONNECT_TIMEOUT
from rpc.tls import unverified_context
from trust.errors import Code, Refusal

MAX_BYTES = 64 * 1024


def fetch_unverified(url: str, path: str, *, timeout: float = CONNECT_TIMEOUT) -> bytes:
    """The body of ``GET url+path`` from a server that nobody has checked; 64 KiB at most.

    Raises Refusal: BAD_INPUT for a URL that is not https, UNREACHABLE, or INTERNAL for another answer than 200.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise Refusal(Code.BAD_INPUT, f"{url[:80]!a} is not an address of plc: expected https://HOST:PORT")
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port or 443, timeout=timeout, context=unverified_context()
    )
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers={"Accept": "application/json"})
        with connection.getresponse() as reply:
            body = reply.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = f"{parts.hostname}:{parts.port or 443} does not answer ({_why(error)}); try again later"
        raise Refusal(Code.UNREACHABLE, reason) from error
    finally:
        connection.close()
    if reply.status != 200 or len(body) > MAX_BYTES:
        raise Refusal(Code.INTERNAL, f"{parts.hostname} is not a plc: it answered {reply.status} to {path}")
    return body


def _why(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, ssl.SSLError):
        return "no TLS 1.3 there"
    return getattr(error, "strerror", None) or type(error).__name__
