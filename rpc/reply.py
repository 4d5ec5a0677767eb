"""What a call gives back, and what both clients say when it gives nothing: foreign errors become refusals here."""

import errno
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from rpc.problems import from_problem
from trust.errors import Code, Refusal, printable
from trust.identity import Identity, Role

CONNECT_TIMEOUT = 10  # seconds for TCP and TLS together
DEADLINE = 45  # seconds for a whole call (STACK: every step ends within 45 s)
MAX_BODY = 16 * 1024 * 1024  # bytes of an answer; tickets for 5,000 nodes have 9 MB
REQUEST = "Dslice-Request"  # header: a request's id, for the logs of all who do something for it (rpc/tracing.py)
MAX_REQUEST = 1024 * 1024  # bytes of a request's body; servers take no more (rpc/body_limit.py)

SERVICES = {Role.NODE: "the node", Role.AGENT: "the agent", Role.SVM: "svmd", Role.PLC: "plc"}
E = TypeVar("E", bound=BaseException)

GET_CERTIFICATE = "get one with plkeygen (services: dslice enroll)"
NEW_CERTIFICATE = "get a new one with plkeygen (services: dslice enroll)"
# X509_V_ERR_*: what OpenSSL finds wrong with a server's certificate, as far as a reader can do something about it.
FINDINGS = {
    9: "a certificate that is not valid yet; check both clocks",
    10: "a certificate that has expired; it must renew it",
    62: "a certificate for another address; ask its operator",
    64: "a certificate for another address; ask its operator",
}
# Only steps of the handshake, or its end: none of them says anything about the server.
UNFINISHED = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError, ssl.SSLEOFError, ssl.SSLSyscallError)
# Alerts by which a server says that the fault is its own, or that it has just stopped.
OWN_FAULTS = frozenset({"TLSV1_ALERT_INTERNAL_ERROR", "TLSV1_ALERT_USER_CANCELLED"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer (2xx, or 304). Header names are lower case; ``body`` is None when there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Target:
    """The server of a call, and the one place that words its failures."""

    host: str
    port: int
    expect: Identity | None

    @classmethod
    def of(cls, url: str, expect: Identity | None) -> Self:
        """Refusal(BAD_INPUT) for what is no https address."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 443
        except ValueError:
            parts, host, port = urlsplit(""), None, 0
        if parts.scheme != "https" or not host:
            raise Refusal(Code.BAD_INPUT, f"{printable(url)} is not an https address; correct it")
        return cls(host, port, expect)

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def service(self) -> str:
        return SERVICES.get(self.expect.role, "it") if self.expect else "it"

    def check(self, certificate: Mapping[str, Any] | None) -> None:
        """Refusal(WRONG_CERTIFICATE) unless the server's certificate (``getpeercert()``) names who is expected."""
        names = uris(certificate)
        if self.expect is None or names == [self.expect.uri]:
            return
        shown = printable(" and ".join(names)) or "nobody"
        raise Refusal(Code.WRONG_CERTIFICATE, f"{self.place} is {shown}, not {self.expect}; ask its operator")

    def unconnected(self, error: BaseException) -> Refusal:
        """No connection came about: nothing was sent."""
        tls = shown(error)
        if tls is not None:
            return self.untrusted(tls)
        if _in_chain(error, TimeoutError) is not None:
            return self.too_slow_to_connect(None)
        return Refusal(Code.UNREACHABLE, f"{self._failure(_in_chain(error, OSError))}; is {self.service} up?")

    def too_slow_to_connect(self, seconds: float | None) -> Refusal:
        within = f" within {seconds:g} s" if seconds is not None else " in time"
        return Refusal(Code.TIMEOUT, f"no connection to {self.place}{within}; is {self.service} up?")

    def too_slow(self, seconds: float) -> Refusal:
        return Refusal(Code.TIMEOUT, f"no whole answer from {self.place} within {seconds:g} s; try again")

    def lost(self, error: BaseException | None = None) -> Refusal:
        """The connection broke after the request went out; a TLS alert says that the server refuses our certificate."""
        tls = shown(error)
        if tls is not None and _refuses_us(tls):
            return self.untrusted(tls)
        return Refusal(
            Code.UNREACHABLE, f"the answer of {self.place} was lost; what was asked may have been done, so ask again"
        )

    def untrusted(self, error: ssl.SSLError) -> Refusal:
        """TLS failed: for our certificate (an alert says so), for theirs, or because that is no server of dslice."""
        if _refuses_us(error):
            why = (error.reason or "").lower().rpartition("alert_")[2].replace("_", " ")
            if why == "certificate required":
                return Refusal(Code.NOT_AUTHENTICATED, f"{self.place} demands a certificate; {GET_CERTIFICATE}")
            return Refusal(Code.NOT_AUTHENTICATED, f"{self.place} refuses our certificate ({why}); {NEW_CERTIFICATE}")
        if isinstance(error, ssl.SSLCertVerificationError):
            finding = FINDINGS.get(error.verify_code, f"a certificate that is not plc's ({error.verify_message})")
            return Refusal(Code.WRONG_CERTIFICATE, f"{self.place} shows {finding}")
        why = (error.reason or "no reason given").lower().replace("_", " ")
        return Refusal(
            Code.WRONG_CERTIFICATE, f"{self.place}: TLS 1.3 handshake failed ({why}); is this a dslice service?"
        )

    def senseless(self, what: str) -> Refusal:
        return Refusal(
            Code.INTERNAL, f"{self.place} gave an answer that makes no sense ({what}); is it a dslice service?"
        )

    def reply(self, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        """The answer as a value; raises the Refusal that it is, or INTERNAL if it is neither success nor refusal."""
        if status not in (204, 304) and not _is_framed(headers):
            raise self.lost()  # it ends where the connection does: nothing tells half of it from the whole
        if not 200 <= status < 300 and status < 400 and status != 304:
            raise self.senseless(f"status {status}")
        try:
            body = json.loads(data, parse_constant=_no_constant) if data else None
        except (ValueError, RecursionError):
            if status >= 400:
                raise from_problem(status, None) from None
            raise self.senseless("no JSON") from None
        if status >= 400:
            raise from_problem(status, body)
        if body is not None and not isinstance(body, dict | list):
            raise self.senseless("neither an object nor a list")
        return Reply(status, headers, body)

    def _failure(self, error: OSError | None) -> str:
        if isinstance(error, ssl.SSLError):
            return f"{self.place} broke off the handshake"
        number = error.errno if error else None
        if number == errno.ECONNREFUSED:
            return f"connection refused by {self.place}"
        if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return f"no route to {self.place}"
        if number in (errno.ECONNRESET, errno.EPIPE):
            return f"connection reset by {self.place}"
        return f"no connection to {self.place} ({error.strerror if error and error.strerror else 'it was closed'})"


def encoded(value: object) -> bytes:
    """A request's body. Refusal(BAD_INPUT) if no server would take it."""
    data = json.dumps(value).encode()
    if len(data) > MAX_REQUEST:
        raise Refusal(Code.BAD_INPUT, f"a request of {len(data)} bytes is too large ({MAX_REQUEST} at most); send less")
    return data


def _is_framed(headers: Mapping[str, str]) -> bool:
    """Whether an answer says itself how long it is (header names in lower case)."""
    return headers.get("content-length", "").isdecimal() or headers.get("transfer-encoding", "").lower() == "chunked"


def uris(certificate: Mapping[str, Any] | None) -> list[str]:
    """The URI names of a certificate as ``ssl`` shows it."""
    names: Sequence[tuple[str, str]] = (certificate or {}).get("subjectAltName", ())
    return [value for kind, value in names if kind == "URI"]


def shown(error: BaseException | None) -> ssl.SSLError | None:
    """What the server showed in TLS, and would show again: a certificate, an alert, another protocol.

    None if the handshake only broke off (end, reset, timeout), which may be over at the next try. Both clients ask
    here, with the errors of ``ssl``, asyncio, uvloop and aiohttp, of which some hold others inside.
    """
    found = (link for link in _chain(error) if isinstance(link, ssl.SSLError) and not isinstance(link, UNFINISHED))
    return next((link for link in found if link.reason not in OWN_FAULTS), None)


def _refuses_us(error: ssl.SSLError) -> bool:
    reason = error.reason or ""
    return "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED"))


def _in_chain(error: BaseException | None, kind: type[E]) -> E | None:
    return next((link for link in _chain(error) if isinstance(link, kind)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
