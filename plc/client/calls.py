"""plc's calls, for services and the command line: synchronous, over one kept-alive connection."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from plc.client.orders import Enrolled, Orders
from plc.client.usage import Total, Used
from plc.client.values import PLC, CertificateRequest, Directory, User, Waiting
from rpc.blocking import Connection
from rpc.credentials import Credentials
from trust.certificates import certificate_from_pem
from trust.clock import Clock, system_clock
from trust.errors import Code, Refusal
from trust.identity import Identity

Read = TypeVar("Read")
Parse = Callable[[Mapping[str, Any]], Read]


class Plc:
    """One plc. Without credentials only the open calls answer; ``ca_pem`` is the root that its server must chain to.

    Every method raises Refusal: plc's own, or unreachable, timeout, wrong-certificate.
    Thread-safe. Nothing is sent before the server has shown the certificate of ``PLC``.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        ca_pem: str | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.url = url
        self._connection = Connection(url, credentials=credentials, ca_pem=ca_pem, expect=PLC)
        self._root = certificate_from_pem(ca_pem) if ca_pem else None
        self._credentials = credentials
        self._clock = clock or system_clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reload(self) -> None:
        """Show the certificate that is in the folder now."""
        self._connection.reload()

    def close(self) -> None:
        self._connection.close()

    # Open to everyone

    def crl(self) -> bytes:
        """The current revocation list, PEM; `TrustStore.update` checks it."""
        return str(self._read("/crl", lambda body: body["crl"])).encode()

    def stops(self) -> frozenset[Identity]:
        """Owners whose slivers must stop; the CA's signature is checked here."""
        from plc.client.proofs import read_stops

        root = self._root or (self._credentials.root if self._credentials else None)
        token = self._read("/stops", lambda body: str(body["stops"]))
        return read_stops(token, root.public_key() if root else None)

    def directory(self) -> Directory:
        """Who is who: plc, svmd, agents."""
        return self._read("/.well-known/planetlab", Directory.from_json)

    def sites(self) -> tuple[str, ...]:
        """Names of the sites that an account may belong to."""
        return self._read("/sites", lambda body: tuple(str(name) for name in body["sites"]))

    def sign_up(
        self,
        email: str,
        password: str,
        name: str,
        site: str,
        *,
        title: str = "",
        contact: Mapping[str, str] | None = None,
    ) -> None:
        """Ask for an account; a PI of the site enables it. The same answer whether or not the e-mail has one.

        ``contact`` has some of the keys of CONTACT.
        """
        said = {"email": email, "password": password, "name": name, "site": site, "title": title}
        self._connection.call("POST", "/accounts", {**said, "contact": dict(contact or {})})

    def request_certificate(self, email: str, password: str, request_pem: str) -> CertificateRequest:
        """Queue a certificate request for the CA operator; the same key again returns the same request."""
        body = {"email": email, "password": password, "request": request_pem}
        return self._post("/certificates", body, CertificateRequest.from_json)

    def request_status(self, email: str, key: RSAPrivateKey) -> CertificateRequest:
        """Where the newest request of this key stands; proves possession of the key instead of asking a password."""
        from plc.client.proofs import key_sha256, sign_proof

        proof = sign_proof(Identity.user(email), key, self._clock.now())
        body = {"email": email, "key": key_sha256(key.public_key()), "proof": proof}
        return self._post("/certificates/status", body, CertificateRequest.from_json)

    def enrol(self, secret: str, request_pem: str, addresses: Sequence[str]) -> str:
        """The first certificate (PEM) of a service, for the secret of its token."""
        body = {"secret": secret, "request": request_pem, "addresses": list(addresses)}
        return self._post("/enrolment", body, lambda answer: str(answer["certificate"]))

    # For users

    def user(self, email: str) -> User:
        return self._read(_user(email), User.from_json)

    def users(self) -> tuple[User, ...]:
        """Accounts that the caller looks after: a PI's site, everyone for admins, else oneself."""
        return self._read("/users", lambda body: tuple(User.from_json(user) for user in body["users"]))

    def keys(self, email: str) -> tuple[str, ...]:
        """SSH public keys, one line each, the newest first."""
        return self._read(f"{_user(email)}/keys", lambda body: tuple(str(line) for line in body["keys"]))

    def add_key(self, email: str, line: str) -> str:
        """Upload an SSH public key to the own account; returns its fingerprint (``SHA256:…``)."""
        return self._post(f"{_user(email)}/keys", {"key": line}, lambda body: str(body["fingerprint"]))

    def remove_key(self, email: str, fingerprint: str) -> None:
        self._connection.call("DELETE", f"{_user(email)}/keys?fingerprint={quote(fingerprint, safe='')}")

    def set_password(self, email: str, old: str, new: str) -> None:
        self._connection.call("PUT", f"{_user(email)}/password", {"old": old, "new": new})

    def renew_certificate(self, request_pem: str) -> str:
        """A new certificate (PEM) for the caller's identity; the old one stays valid until revoked or ended."""
        return self._post("/certificates/renew", {"request": request_pem}, lambda body: str(body["certificate"]))

    def revoke_certificate(self, serial: int) -> None:
        """Revoke another certificate of the caller's own identity. Idempotent."""
        self._connection.call("POST", "/certificates/revoke", {"serial": f"{serial:x}"})

    def usage(
        self, by: str, since: datetime | None = None, until: datetime | None = None, *, everyones: bool = False
    ) -> tuple[datetime, datetime, tuple[Total, ...]]:
        """Since when, until when, and what was granted and used in between, of the caller's own slices.

        By user, site, slice or node; ``everyones``, for admins and the operator.
        """
        said = {"by": by, "since": since and since.isoformat(), "until": until and until.isoformat()}
        query = urlencode({name: value for name, value in said.items() if value})

        def read(body: Mapping[str, Any]) -> tuple[datetime, datetime, tuple[Total, ...]]:
            begin, end = (datetime.fromisoformat(body[name]) for name in ("since", "until"))
            return begin, end, tuple(Total.from_json(one) for one in body["totals"])

        return self._read(f"/usage{'/everyones' if everyones else ''}?{query}", read)

    # For PIs (of the own site) and admins

    def enable(self, email: str) -> None:
        self._connection.call("PUT", f"{_user(email)}/account", {"enabled": True})

    def disable(self, email: str, reason: str, *, stop: bool = False) -> tuple[str, ...]:
        """Returns the slices that the account holds."""
        body = {"enabled": False, "reason": reason, "stop": stop}
        reply = self._connection.call("PUT", f"{_user(email)}/account", body)
        return _parse(reply.body, lambda answer: tuple(str(name) for name in answer["slices"]))

    def set_pi(self, email: str, pi: bool) -> None:
        self._connection.call("PUT", f"{_user(email)}/pi", {"pi": pi})

    def add_site(self, name: str) -> None:
        self._connection.call("POST", "/sites", {"name": name})

    def requests(self) -> tuple[Waiting, ...]:
        """Certificate requests that wait, the oldest first."""
        return self._read("/requests", lambda body: tuple(Waiting.from_json(one) for one in body["requests"]))

    def decide(self, which: str, *, approve: bool, reason: str = "") -> CertificateRequest:
        """Approve or deny the pending request of an e-mail, or with an id."""
        path = f"/requests/{quote(which, safe='@')}/decision"
        return self._post(path, {"approve": approve, "reason": reason}, CertificateRequest.from_json)

    # For admins, and for the operator at plc's machine

    def nodes(self) -> tuple[Enrolled, ...]:
        """Every enrolled node."""
        return self._read("/nodes", lambda body: tuple(Enrolled.from_json(one) for one in body["nodes"]))

    def drain(
        self,
        node: str,
        reason: str,
        until: datetime | None,
        *,
        renews: bool,
        tell: Mapping[str, Sequence[str]],
        replaces: bool = False,
    ) -> None:
        """No new slivers there; ``tell``: slices that are there, by their owners' e-mails."""
        end = until.isoformat() if until else None
        told = {who: [*what] for who, what in tell.items()}
        body: dict[str, object] = {"reason": reason, "until": end, "renews": renews, "tell": told}
        if replaces:
            body["replaces"] = True
        self._connection.call("PUT", f"{_node(node)}/drain", body)

    def undrain(self, node: str) -> None:
        self._connection.call("DELETE", f"{_node(node)}/drain")

    def retire(self, node: str, reason: str) -> None:
        """Forget a drained node and revoke its certificates."""
        self._connection.call("DELETE", _node(node), {"reason": reason})

    def order(self, orders: Sequence[str], *, free: bool = False) -> None:
        """Signed orders about one slice (`trust.orders`); ``free`` gives its name back."""
        self._connection.call("POST", "/orders", {"orders": list(orders), "free": free})

    def obeyed(self, orders: Sequence[str]) -> Mapping[str, bool]:
        """Which of these orders (ids) their nodes have obeyed."""
        return self._post("/orders/standing", {"orders": list(orders)}, lambda body: dict(body["obeyed"]))

    # For services

    def orders(self, tag: str | None = None, *, everyones: bool = False) -> Orders | None:
        """Nodes and agents: what the operator wants; None where it is still what ``tag`` came with.

        A node hears of orders for itself; ``everyones``: of those for all, where one process is many nodes.
        """
        root = self._root or (self._credentials.root if self._credentials else None)
        path = f"/orders?tag={quote(tag or '', safe='')}&everyones={'true' if everyones else 'false'}"

        def read(body: Mapping[str, Any]) -> Orders | None:
            return None if body["tag"] == tag else Orders.read(body, root.public_key() if root else None)

        return self._read(path, read)

    def tell_usage(self, intervals: Sequence[Used]) -> None:
        """Nodes: how long slivers were granted and used. Idempotent."""
        self._connection.call("PUT", "/usage", {"intervals": [one.to_json() for one in intervals]})

    def say_done(self, orders: Sequence[str]) -> None:
        """Nodes: these orders (ids) are obeyed. Idempotent."""
        self._connection.call("PUT", "/orders/done", {"orders": list(orders)})

    def announce(self, url: str) -> None:
        """Agents and svmd: enter the base URL where this service answers into the directory."""
        self._connection.call("PUT", "/services/self", {"url": url})

    def register_slice(self, name: str, owner: Identity, delegation: str) -> UUID:
        """Agents: take a slice name for its owner; idempotent for the same owner while registered.

        ``delegation``: what the owner signed for this slice, to his service manager or to this agent.

        Returns the slice's id. Raises Refusal NAME_TAKEN, BAD_INPUT (the name), NOT_ALLOWED (no PI, disabled),
        OVER_CAPACITY (too many names), NOT_OWNER (the delegation is another's).
        """
        headers = {"Dslice-Delegation": delegation}
        reply = self._connection.call("PUT", _slice(name), {"owner": owner.uri}, headers)
        return _parse(reply.body, lambda body: UUID(body["slice_id"]))

    def release_slice(self, name: str, slice_id: UUID, held_until: datetime | None = None) -> None:
        """Agents: give a name back; until ``held_until`` only the same owner may take it again. Idempotent."""
        until = held_until.isoformat() if held_until else None
        self._connection.call("DELETE", _slice(name), {"slice_id": str(slice_id), "held_until": until})

    def _read(self, path: str, parse: Parse[Read]) -> Read:
        return _parse(self._connection.call("GET", path).body, parse)

    def _post(self, path: str, body: Mapping[str, object], parse: Parse[Read]) -> Read:
        return _parse(self._connection.call("POST", path, body).body, parse)


def _parse(body: Any, parse: Parse[Read]) -> Read:
    """What an answer says; Refusal(INTERNAL) for one of another shape."""
    try:
        return parse(body)
    except (KeyError, TypeError, ValueError, AttributeError, Refusal) as error:
        raise Refusal(Code.INTERNAL, "plc's answer makes no sense; is it of another version?") from error


def _user(email: str) -> str:
    return f"/users/{quote(Identity.user(email).name, safe='@')}"


def _node(name: str) -> str:
    return f"/nodes/{quote(name, safe='')}"


def _slice(name: str) -> str:
    return f"/slices/{quote(name, safe='')}"
