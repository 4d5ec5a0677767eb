"""What a command believes of the user's files, and when it looks at them again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rpc.credentials import CERTIFICATE, KEY, Credentials
from svm.checked import FOUND, checked, look
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import PrivateKey

NOW = datetime.now(UTC)
AUTHORITY = Authority.create(NOW)
ALICE = new_private_key(Role.USER)


def saved(folder: Path, email: str, key: PrivateKey = ALICE) -> Credentials:
    """The files of a user with this name."""
    made = AUTHORITY.issue(Identity.user(email), key.public_key(), now=NOW, lifetime=7 * 86_400)
    credentials = Credentials(folder)
    credentials.save(
        key_pem=key_to_pem(key),
        certificate_pem=certificate_to_pem(made),
        ca_pem=certificate_to_pem(AUTHORITY.certificate),
    )
    return credentials


def test_what_was_written_is_what_the_files_say(tmp_path: Path) -> None:
    credentials = saved(tmp_path / "home", "a@x.org")
    first = checked(credentials)
    assert (credentials.directory / FOUND).stat().st_mode & 0o777 == 0o600
    assert checked(credentials) == first == look(credentials)
    assert first.identity == Identity.user("a@x.org")
    assert first.not_valid_after_utc == credentials.certificate.not_valid_after_utc > NOW + timedelta(days=1)


def test_a_new_certificate_is_seen_at_once(tmp_path: Path) -> None:
    checked(saved(tmp_path / "home", "a@x.org"))
    assert checked(saved(tmp_path / "home", "b@x.org")).identity == Identity.user("b@x.org")


@pytest.mark.parametrize("text", ["", "[]", "{}", "\udcff", '{"digest": 1}'])
def test_what_makes_no_sense_is_not_believed(tmp_path: Path, text: str) -> None:
    credentials = saved(tmp_path / "home", "a@x.org")
    found = checked(credentials)
    (credentials.directory / FOUND).write_bytes(text.encode(errors="surrogateescape"))
    assert checked(credentials) == found


def test_files_that_do_not_belong_together_are_refused_however_often(tmp_path: Path) -> None:
    credentials = saved(tmp_path / "home", "a@x.org")
    checked(credentials)
    (credentials.directory / KEY).write_text(key_to_pem(new_private_key(Role.USER)))
    for _ in range(2):
        with pytest.raises(Refusal, match="belongs to another key") as caught:
            checked(credentials)
        assert caught.value.code is Code.NOT_AUTHENTICATED
    (credentials.directory / CERTIFICATE).unlink()
    with pytest.raises(Refusal, match="there is no"):
        checked(credentials)


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    credentials = saved(tmp_path / "home", "a@x.org")
    (credentials.directory / FOUND).mkdir()
    assert checked(credentials).identity == Identity.user("a@x.org")
