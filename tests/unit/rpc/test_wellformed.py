"""What no app gets to see."""

from typing import Any

import pytest

from rpc import wellformed
from rpc.body_limit import BodyLimit
from tests.unit.rpc.asgi import ask
from tests.unit.rpc.test_body_limit import Echo
from trust.errors import Refusal


def refused(**changes: Any) -> str:
    """The reason; "" when the head passes."""
    scope = {"path": "/", "query_string": b"", "http_version": "1.1", "headers": [(b"host", b"x:1")]}
    try:
        wellformed.check_head({**scope, **changes})
    except Refusal as refusal:
        return f"{refusal.code}: {refusal.reason}"
    return ""


def test_control_characters_in_the_head() -> None:
    assert refused() == ""
    for character in ("\0", "\n", "\x1f", "\x7f"):
        assert "the path" in refused(path=f"/slices/a{character}b")
        assert "the query" in refused(query_string=f"a=%{ord(character):02x}".encode())
        assert "the header x" in refused(headers=[(b"host", b"x"), (b"x", b"a" + character.encode())])
    assert (
        refused(path="/gr\u00fc\u00dfe", query_string=b"a=%20%2B&b=", headers=[(b"host", b"x"), (b"x", b"a\tb")]) == ""
    )


@pytest.mark.parametrize("hosts", [[], [b"a", b"a"], [b""], [b"a b"], [b"a,b"], [b"user@a"], [b"a/b"]])
def test_one_host_and_a_host_it_is(hosts: list[bytes]) -> None:
    assert "Host" in refused(headers=[(b"host", host) for host in hosts])


@pytest.mark.parametrize("host", [b"plc.example", b"127.0.0.1:7443", b"[::1]:1"])
def test_hosts(host: bytes) -> None:
    assert refused(headers=[(b"host", host)]) == ""


def test_the_oldest_http_needs_no_host() -> None:
    assert refused(http_version="1.0", headers=[]) == ""
    assert "Host" in refused(http_version="1.0", headers=[(b"host", b"a"), (b"host", b"b")])


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (rb'{"a": "\u0000"}', False),
        (rb'{"a": "\\\u0000"}', False),
        (rb'{"a": "\\u0000"}', True),
        (rb'{"a": "\u0001\n"}', True),
        ('{"a": "b"}'.encode("utf-16"), False),
        (b'{"a": "\0"}', False),
        (b"", True),
    ],
)
async def test_nul_in_a_body(body: bytes, taken: bool) -> None:
    app = Echo()
    answer = await ask(BodyLimit(app), "POST", "/", pieces=[body])
    assert (answer.status, app.ran) == (200 if taken else 400, taken)
    assert taken or (answer.body["code"], "NUL" in answer.body["detail"]) == ("bad-input", True)
