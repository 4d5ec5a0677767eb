"""Where a webhook may go, and how it is signed."""

import base64
import ipaddress
import re
import socket

import pytest

from rpc.settings import split_networks
from rpc.webhooks import check_url, new_secret, signature, why_not
from trust.errors import Code, Refusal

LOOPBACK = split_networks("127.0.0.0/8, ::1/128")


def test_it_is_signed_as_standard_webhooks_says() -> None:
    """The example of its specification."""
    secret, id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    found = signature(secret, id, 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_long_and_new() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert why_not(ipaddress.ip_address(address), ()) is not None


@pytest.mark.parametrize("address", ["192.88.98.1", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_what_is_public_is_not(address: str) -> None:
    assert why_not(ipaddress.ip_address(address), ()) is None


def test_an_operator_allows_networks() -> None:
    assert why_not(ipaddress.ip_address("127.0.0.1"), LOOPBACK) is None
    assert why_not(ipaddress.ip_address("::ffff:127.0.0.1"), LOOPBACK) is None
    assert why_not(ipaddress.ip_address("10.0.0.1"), LOOPBACK) is not None


def test_the_machine_s_own_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's machine may have none: loopback is said to be public here, and is this machine's."""
    monkeypatch.setattr(ipaddress.IPv4Address, "is_global", True)
    assert why_not(ipaddress.IPv4Address("127.0.0.1"), ()) == "127.0.0.1 is an address of svmd's own machine"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(("192.0.2.1", 9))
        except OSError:
            return  # no way out of this machine: no address of another
    assert why_not(ipaddress.IPv4Address("192.0.2.1"), ()) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/hooks/1?key=2",
        "https://example.org:8443/",
        "https://example.org",
        "https://1.1.1.1/x",
        "https://[2606:4700::1111]/x",
    ],
)
def test_urls(url: str) -> None:
    assert check_url(url, ()) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://user:password@example.org/",
        "https://example.org/#part",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://example.org/\u00e4",
        "https://[::1/",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_what_is_no_url_for_a_hook(url: str) -> None:
    with pytest.raises(Refusal, match="is not https://HOST") as caught:
        check_url(url, LOOPBACK)
    assert caught.value.code is Code.BAD_INPUT


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/x",
        "https://a.localhost./x",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "http://example.org/",
        "http://1.1.1.1/",
    ],
)
def test_where_a_hook_may_not_be(url: str) -> None:
    with pytest.raises(Refusal, match=re.escape("DSLICE_HOOKS_ALLOW")) as caught:
        check_url(url, ())
    assert caught.value.code is Code.NOT_ALLOWED


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "https://localhost/x", "http://[::1]:1/"])
def test_what_is_allowed_may_have_one(url: str) -> None:
    assert check_url(url, LOOPBACK) == url


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "here", "10.0.0.0/8;::1"])
def test_a_network_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a network, as 10\.0\.0\.0/8 is one"):
        split_networks(text)
