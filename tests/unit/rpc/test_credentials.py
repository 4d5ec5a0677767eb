"""Three files that belong together, whatever interrupts their writer."""

import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from rpc.credentials import CERTIFICATE, KEY, ROOT, Credentials
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

NODE = Identity(Role.NODE, "n1")
NOW = datetime.now(UTC)
CA = Authority.create(NOW)
CA_PEM = certificate_to_pem(CA.certificate)


def pair() -> tuple[str, str]:
    key = new_private_key(Role.NODE)
    return key_to_pem(key), certificate_to_pem(CA.issue(NODE, key.public_key(), now=NOW, lifetime=60))


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    made = Credentials(tmp_path / "state")
    key, certificate = pair()
    made.save(key_pem=key, certificate_pem=certificate, ca_pem=CA_PEM)
    return made


def refusal(credentials: Credentials) -> Refusal:
    with pytest.raises(Refusal) as caught:
        credentials.pair()
    assert not credentials.exists()
    return caught.value


def test_what_is_saved_is_read_again(credentials: Credentials) -> None:
    assert credentials.exists()
    assert credentials.identity == NODE
    assert credentials.root == CA.certificate
    assert credentials.root_pem == CA_PEM
    assert credentials.key.public_key() == credentials.certificate.public_key()


def test_a_root_is_shared_until_another_comes(credentials: Credentials, tmp_path: Path) -> None:
    other = Credentials(tmp_path / "other")
    key, certificate = pair()
    other.save(key_pem=key, certificate_pem=certificate, durable=False)
    assert not other.exists()
    for _ in range(2):
        other.share_root(credentials)
        credentials.share_root(credentials)
    assert other.exists()
    assert (other.directory / ROOT).samefile(credentials.directory / ROOT)
    other.save(ca_pem="another")
    assert (other.root_pem, credentials.root_pem) == ("another", CA_PEM)


def test_modes(credentials: Credentials) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in credentials.directory.iterdir()}
    assert modes == {KEY: 0o600, CERTIFICATE: 0o644, ROOT: 0o644}
    assert stat.S_IMODE(credentials.directory.stat().st_mode) == 0o700


def test_what_a_crash_left_does_not_loosen_the_key(credentials: Credentials) -> None:
    left = credentials.directory / f".{KEY}.new"
    left.write_text("half a key")
    left.chmod(0o666)
    key, certificate = pair()
    credentials.save(key_pem=key, certificate_pem=certificate)
    test_modes(credentials)


@pytest.mark.parametrize("name", [KEY, CERTIFICATE, ROOT])
def test_a_missing_file(credentials: Credentials, name: str) -> None:
    (credentials.directory / name).unlink()
    assert not credentials.exists()
    with pytest.raises(Refusal, match="plkeygen") as caught:
        _ = (credentials.key, credentials.certificate, credentials.root)
    assert caught.value.code is Code.NOT_AUTHENTICATED
    assert name in caught.value.reason


def test_an_unreadable_file(credentials: Credentials) -> None:
    (credentials.directory / KEY).unlink()
    (credentials.directory / KEY).mkdir()
    assert "cannot read" in refusal(credentials).reason


def test_a_certificate_of_another_key(credentials: Credentials) -> None:
    (credentials.directory / CERTIFICATE).write_text(pair()[1])
    assert refusal(credentials).code is Code.NOT_AUTHENTICATED


def test_a_certificate_for_another_key_is_not_saved(credentials: Credentials) -> None:
    before = credentials.pair()
    with pytest.raises(Refusal) as caught:
        credentials.save(certificate_pem=pair()[1])
    assert caught.value.code is Code.BAD_INPUT
    with pytest.raises(Refusal):
        credentials.save(key_pem=pair()[0], certificate_pem=pair()[1])
    assert credentials.pair() == before


def test_a_key_first_and_its_certificate_later(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    key, certificate = pair()
    credentials.save(key_pem=key)
    assert not credentials.exists()
    credentials.save(certificate_pem=certificate, ca_pem=CA_PEM)
    assert credentials.exists()


def test_a_crash_between_the_two_renames_is_finished_by_the_reader(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = pair()
    replace, renames = Path.replace, list[str]()

    def crash_at_second(self: Path, target: Path) -> Path:
        renames.append(self.name)
        if len(renames) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crash_at_second)
    with pytest.raises(KeyboardInterrupt):
        credentials.save(key_pem=key, certificate_pem=certificate)
    monkeypatch.undo()
    assert credentials.pair() == (key.encode(), certificate.encode())


def test_a_crash_before_the_first_rename_changes_nothing(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = credentials.pair()

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    key, certificate = pair()
    with pytest.raises(KeyboardInterrupt):
        credentials.save(key_pem=key, certificate_pem=certificate)
    monkeypatch.undo()
    assert credentials.pair() == before
    credentials.save(key_pem=key, certificate_pem=certificate)
    assert credentials.pair() == (key.encode(), certificate.encode())


def test_readers_never_see_half_a_renewal(credentials: Credentials) -> None:
    pairs, done, failures = [pair() for _ in range(4)], threading.Event(), list[Refusal]()

    def read() -> None:
        while not done.is_set():
            try:
                credentials.pair()
            except Refusal as failure:
                failures.append(failure)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(60):
        key, certificate = pairs[number % len(pairs)]
        credentials.save(key_pem=key, certificate_pem=certificate)
    done.set()
    for reader in readers:
        reader.join()
    assert not failures


def test_a_planted_link_is_not_followed(credentials: Credentials, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, credentials.directory / f".{KEY}.new")
    key, certificate = pair()
    credentials.save(key_pem=key, certificate_pem=certificate)
    assert victim.read_text() == "precious"
    assert not (credentials.directory / KEY).is_symlink()


@pytest.mark.parametrize("uris", [[], [NODE.uri, "spiffe://planet-lab/node/n2"]])
def test_a_certificate_that_does_not_say_whose_it_is(credentials: Credentials, uris: list[str]) -> None:
    key = credentials.key
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(1).not_valid_before(NOW).not_valid_after(NOW)
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    (credentials.directory / CERTIFICATE).write_text(certificate_to_pem(builder.sign(key, hashes.SHA256())))
    with pytest.raises(Refusal, match="whose"):
        _ = credentials.identity
