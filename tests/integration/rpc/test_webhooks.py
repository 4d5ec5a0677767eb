"""Webhooks as they go out, to a real server on loopback, which only an operator's word lets them reach."""

import socket
import ssl
import time
from typing import Any

import pytest

from rpc import webhooks
from rpc.credentials import CERTIFICATE, KEY, Credentials
from rpc.fate import Fate
from rpc.settings import split_networks
from rpc.webhooks import Message, Sender, new_secret
from tests.integration.receiver import Receiver, receiving
from tests.integration.rpc.lab import Lab

LOOPBACK = split_networks("127.0.0.0/8")
SECRET = new_secret()
Came = tuple[Fate, str, int | None]


async def sent(url: str, allowed: Any = LOOPBACK) -> Came:
    return await Sender(allowed).send(Message(url, "the-id", SECRET, b'{"type": "slice.test"}'))


async def test_one_arrives_signed() -> None:
    with receiving() as receiver:
        assert await sent(receiver.url) == (Fate.SENT, "", 204)
    (call,) = receiver.calls
    assert call.told == {"type": "slice.test"}
    assert call.id == "the-id"
    assert call.is_signed_with(SECRET)
    assert not call.is_signed_with(new_secret())
    assert abs(int(call.headers["webhook-timestamp"]) - time.time()) < 300
    assert call.headers["content-type"] == "application/json"


async def test_nobody_is_called_whom_the_operator_does_not_allow() -> None:
    with receiving() as receiver:
        fate, reason, status = await sent(receiver.url.replace("http:", "https:"), ())
        assert (fate, status) == (Fate.LATER, None)
        assert reason == "127.0.0.1 is a loopback, private or reserved address"
        fate, reason, _ = await sent(receiver.url, split_networks("10.0.0.0/8"))
        assert (fate, reason) == (Fate.LATER, "127.0.0.1 is called by https:// only")
    assert receiver.calls == []


async def test_a_name_that_leads_elsewhere_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: what a name led to before says nothing; what counts is the address that is connected to."""
    looked_up, answers = socket.getaddrinfo, iter(["192.0.2.1"])

    def rebinding(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        there = next(answers, "127.0.0.1") if host == "rebind.example" else host
        return looked_up(there, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "rebind.example").replace("http:", "https:")
        assert socket.getaddrinfo("rebind.example", 443)[0][4][0] == "192.0.2.1"
        assert webhooks.check_url(url, ()) == url
        fate, reason, _ = await sent(url, ())
    assert (fate, reason) == (Fate.LATER, "127.0.0.1 is a loopback, private or reserved address")
    assert receiver.calls == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    with receiving() as other, receiving() as receiver:
        receiver.answer, receiver.location = lambda _: status, other.url
        found = await sent(receiver.url)
    assert found == (Fate.LATER, f"it answered {status}, and a hook follows no redirect", status)
    assert other.calls == []


@pytest.mark.parametrize(
    ("status", "fate", "reason"),
    [
        (200, Fate.SENT, ""),
        (400, Fate.LATER, "it answered 400"),
        (410, Fate.NEVER, "it answered 410: it wants no more"),
        (503, Fate.LATER, "it answered 503"),
    ],
)
async def test_what_an_answer_means(status: int, fate: Fate, reason: str) -> None:
    with receiving() as receiver:
        receiver.answer = lambda _: status
        assert await sent(receiver.url) == (fate, reason, status)


async def test_a_server_that_does_not_answer_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = await sent(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert found == (Fate.LATER, "no answer within 0.2 s", None)


async def test_a_port_where_nobody_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    fate, reason, status = await sent(f"http://127.0.0.1:{port}/")
    assert (fate, status) == (Fate.LATER, None)
    assert str(port) in reason
    assert "\n" not in reason


@pytest.fixture
def encrypted(lab: Lab, node: Credentials) -> Any:
    """A receiver with a certificate of a CA that no machine knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(node.directory / CERTIFICATE, node.directory / KEY)
    with receiving(context) as receiver:
        yield receiver


async def test_a_certificate_that_nobody_trusts(encrypted: Receiver) -> None:
    fate, reason, _ = await sent(encrypted.url)
    assert fate is Fate.LATER
    assert "certificate" in reason
    assert encrypted.calls == []


async def test_a_certificate_that_the_machine_trusts(
    lab: Lab, encrypted: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lab.folder / "root.pem"
    root.write_text(lab.root_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    assert await sent(encrypted.url) == (Fate.SENT, "", 204)
