"""What an answer means, and the words for what goes wrong."""

import errno
import socket

import pytest

from rpc.reply import Target
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

NODE = Identity(Role.NODE, "n1")
TARGET = Target("127.0.1.3", 7200, NODE)
SIZED = {"content-length": "7"}


def refused(status: int, data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        TARGET.reply(status, SIZED, data)
    return caught.value


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://", "127.0.0.1:80", "https://[::1", "https://h:99999"])
def test_only_https_addresses_are_called(url: str) -> None:
    with pytest.raises(Refusal, match="https") as caught:
        Target.of(url, NODE)
    assert caught.value.code is Code.BAD_INPUT


def test_places() -> None:
    assert Target.of("https://node.example/x", NODE).place == "node.example:443"
    assert Target.of("https://[::1]:7200/x", NODE).place == "[::1]:7200"


@pytest.mark.parametrize(("data", "body"), [(b"", None), (b"{}", {}), (b'[{"a": 1}]', [{"a": 1}]), (b"null", None)])
def test_answers(data: bytes, body: object) -> None:
    assert TARGET.reply(200, SIZED, data).body == body
    assert TARGET.reply(304, {}, b"").status == 304


@pytest.mark.parametrize("data", [b"hello", b"\xff", b'"text"', b"7", b'{"a": NaN}', b"[" * 200_000, b'{"a": 1'])
def test_an_answer_that_is_no_json_object_or_list(data: bytes) -> None:
    refusal = refused(200, data)
    assert refusal.code is Code.INTERNAL
    assert "127.0.1.3:7200" in refusal.reason


@pytest.mark.parametrize("headers", [{}, {"content-length": "x"}, {"transfer-encoding": "gzip"}])
def test_an_answer_that_ends_where_the_connection_does(headers: dict[str, str]) -> None:
    with pytest.raises(Refusal, match="lost"):
        TARGET.reply(200, headers, b"{}")
    assert TARGET.reply(204, headers, b"").body is None
    assert TARGET.reply(200, {"transfer-encoding": "chunked"}, b"{}").body == {}


@pytest.mark.parametrize("status", [101, 301, 302, 307])
def test_statuses_that_nobody_follows(status: int) -> None:
    assert refused(status, b"{}").code is Code.INTERNAL


def test_the_servers_own_refusal_comes_through() -> None:
    refusal = refused(409, b'{"code": "busy", "detail": "wait", "operation": "x"}')
    assert (refusal.code, refusal.reason, refusal.detail) == (Code.BUSY, "wait", {"operation": "x"})
    assert refused(502, b"<html>").code is Code.INTERNAL


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (OSError(errno.ECONNREFUSED, "x"), Code.UNREACHABLE, "connection refused by 127.0.1.3:7200; is the node up?"),
        (OSError(errno.EHOSTUNREACH, "x"), Code.UNREACHABLE, "no route to 127.0.1.3:7200; is the node up?"),
        (OSError(errno.ENETUNREACH, "x"), Code.UNREACHABLE, "no route to 127.0.1.3:7200; is the node up?"),
        (OSError(errno.ECONNRESET, "x"), Code.UNREACHABLE, "connection reset by 127.0.1.3:7200; is the node up?"),
        (OSError(errno.ETIMEDOUT, "x"), Code.TIMEOUT, "no connection to 127.0.1.3:7200 in time; is the node up?"),
        (socket.gaierror(-2, "Name unknown"), Code.UNREACHABLE, "(Name unknown); is the node up?"),
        (ConnectionResetError(), Code.UNREACHABLE, "(it was closed); is the node up?"),
    ],
)
def test_words_for_no_connection(error: OSError, code: Code, reason: str) -> None:
    refusal = TARGET.unconnected(error)
    assert refusal.code is code
    assert refusal.reason.endswith(reason)


@pytest.mark.parametrize(
    "certificate",
    [
        None,
        {},
        {"subjectAltName": (("IP Address", "127.0.1.3"),)},
        {"subjectAltName": (("URI", "spiffe://planet-lab/node/n2"),)},
        {"subjectAltName": (("URI", NODE.uri), ("URI", "spiffe://planet-lab/node/n2"))},
        {"subjectAltName": (("DNS", NODE.uri),)},
    ],
)
def test_whoever_is_not_expected(certificate: dict[str, object] | None) -> None:
    with pytest.raises(Refusal) as caught:
        TARGET.check(certificate)
    assert caught.value.code is Code.WRONG_CERTIFICATE


def test_whoever_is_expected() -> None:
    TARGET.check({"subjectAltName": (("URI", NODE.uri), ("IP Address", "127.0.1.3"))})
    Target("127.0.1.3", 7200, None).check({"subjectAltName": ()})
