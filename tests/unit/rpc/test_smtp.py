"""Addresses of mail servers."""

import pytest

from rpc.smtp import check_url, without_password


@pytest.mark.parametrize(
    "url",
    [
        "smtp://relay.example.org",
        "smtp://127.0.0.1:2525",
        "smtp://[::1]:25",
        "smtp://me:p%40ss@relay.example.org",
        "smtps://me:pass@relay.example.org:465/",
        "lmtp:///run/mail.sock",
    ],
)
def test_addresses_of_mail_servers(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example.org",
        "relay.example.org:25",
        "smtp://",
        "smtp://relay:port",
        "smtp://relay:70000",
        "smtp://relay:0",
        "smtp://[::1",
        "smtp://relay/folder",
        "smtps://me:secret@",
        "lmtp://",
        "lmtp:///",
        "lmtp://relay/run/mail.sock",
    ],
)
def test_what_is_none_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not smtp://\[USER:PASSWORD@\]HOST") as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    assert without_password("smtp://me:a@b@relay:25") == "smtp://…@relay:25"
    assert without_password("smtp://relay:25") == "smtp://relay:25"
