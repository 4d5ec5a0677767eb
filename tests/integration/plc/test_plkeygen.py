"""`plkeygen` from the howto's first line to its last, and beyond, against a real plc."""

import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from plc import certificates, deactivation
from plc.accounts import OPERATOR as AS_OPERATOR
from rpc.credentials import Credentials
from svm.certification import Keys
from svm.home import Home
from tests.integration.plc.conftest import OPERATOR, PASSWORD, Running, refused
from tests.integration.plc.programs import Laptop
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.errors import Code
from trust.identity import Identity, Role


@pytest.fixture
def laptop(plc: Running, tmp_path: Path) -> Laptop:
    return Laptop(plc, tmp_path / "planetlab")


def approve(plc: Running, email: str) -> None:
    with plc.central.begin() as connection:
        certificates.approve(
            connection, plc.central.authority, AS_OPERATOR, email, plc.settings, plc.central.clock.now()
        )


def enrolled(laptop: Laptop, email: str) -> None:
    """A user with a downloaded certificate."""
    assert laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n").returncode == 0
    approve(laptop.plc, email)
    assert laptop.plkeygen("--refresh", "--email", email).returncode == 0


def test_the_howto_at_a_terminal(laptop: Laptop) -> None:
    email = laptop.plc.person(is_pi=True)

    status, screen = laptop.at_terminal("plkeygen", answers={"email": email, "password": PASSWORD})

    assert status == 0
    assert screen.splitlines() == [
        f"email: {email}",
        "password: ",
        f"Certificate request sent to {OPERATOR}.",
        "Do a 'plkeygen --refresh' once you receive a reply.",
    ]
    asked = laptop.plc.mailbox.wait_for(OPERATOR, f"Certificate request from {email}")
    assert f"dslice plc approve {email}" in asked.get_content()

    status, screen = laptop.at_terminal("plkeygen", "--refresh", answers={"email": email})
    assert status == 1
    assert screen.splitlines()[1].startswith("Certificate request pending since 2")

    approve(laptop.plc, email)
    assert "plkeygen --refresh" in laptop.plc.mailbox.wait_for(email, "certificate is ready").get_content()
    status, screen = laptop.at_terminal("plkeygen", "--refresh", answers={"email": email})
    assert (status, screen) == (0, f"email: {email}\nCertificate downloaded.\n")

    saved = Credentials(laptop.home)
    assert saved.identity == Identity.user(email)
    assert stat.S_IMODE(laptop.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((laptop.home / "key.pem").stat().st_mode) == 0o600


def test_a_denied_request_says_why(laptop: Laptop) -> None:
    email = laptop.plc.person()
    laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n")
    with laptop.plc.central.begin() as connection:
        now = laptop.plc.central.clock.now()
        certificates.deny(connection, AS_OPERATOR, email, "call me first", laptop.plc.settings, now)

    refreshed = laptop.plkeygen("--refresh", "--email", email)

    assert (refreshed.returncode, refreshed.stdout) == (1, "")
    assert refreshed.stderr == f"Certificate request denied by {OPERATOR}: call me first\n"
    assert "call me first" in laptop.plc.mailbox.wait_for(email, "was denied").get_content()


def test_a_wrong_password_sends_nothing_and_the_next_try_uses_the_same_key(laptop: Laptop) -> None:
    email = laptop.plc.person()

    wrong = laptop.plkeygen(stdin=f"{email}\nwrong password\n")
    assert (wrong.returncode, wrong.stderr) == (4, "plkeygen: wrong e-mail or password; try again\n")
    key = (laptop.home / "key.pem").read_text()

    assert laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n").returncode == 0
    assert (laptop.home / "key.pem").read_text() == key


def test_nothing_is_sent_to_a_ca_that_nobody_vouched_for(laptop: Laptop) -> None:
    laptop.vouched = False
    unknown = laptop.plkeygen(stdin="a@example.org\nsecret-password\n")
    assert unknown.returncode == 4
    assert "DSLICE_CA_FINGERPRINT" in unknown.stderr
    assert not laptop.home.exists()

    laptop.environment = {"DSLICE_CA_FINGERPRINT": "ab" * 32}
    other = laptop.plkeygen(stdin="a@example.org\nsecret-password\n")
    assert other.returncode == 5
    assert "do not trust it" in other.stderr


def test_at_a_terminal_the_user_vouches_by_typing_the_first_digits(laptop: Laptop) -> None:
    email = laptop.plc.person()
    laptop.vouched = False

    status, screen = laptop.at_terminal("plkeygen", answers={"first 8 digits": "00000000"})
    assert status == 5
    assert "nothing was sent" in screen

    typed = {"first 8 digits": laptop.plc.ca_fingerprint[:8], "email": email, "password": PASSWORD}
    status, screen = laptop.at_terminal("plkeygen", answers=typed)
    assert status == 0, screen
    assert (laptop.home / "ca.pem").read_text() == laptop.plc.ca_pem


def test_a_pinned_ca_is_not_replaced(laptop: Laptop, tmp_path: Path) -> None:
    email = laptop.plc.person()
    laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n")
    laptop.environment = {"DSLICE_CA_FINGERPRINT": "cd" * 32}
    changed = laptop.plkeygen("--refresh", "--email", email)
    assert changed.returncode == 5
    assert "was expected" in changed.stderr

    laptop.environment = {"DSLICE_CA_FILE": str(tmp_path / "missing.pem")}
    missing = laptop.plkeygen("--refresh", "--email", email)
    assert missing.returncode == 2
    assert "cannot read the CA file" in missing.stderr


def test_a_ca_file_vouches_too(laptop: Laptop, tmp_path: Path) -> None:
    email = laptop.plc.person()
    (tmp_path / "ca.pem").write_text(laptop.plc.ca_pem)
    laptop.vouched, laptop.environment = False, {"DSLICE_CA_FILE": str(tmp_path / "ca.pem")}
    assert laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n").returncode == 0


def test_a_folder_or_key_that_others_can_read_is_refused(laptop: Laptop, tmp_path: Path) -> None:
    laptop.home.mkdir(mode=0o755)
    laptop.home.chmod(0o755)
    readable = laptop.plkeygen(stdin="x\n")
    assert (readable.returncode, readable.stderr) == (
        4,
        f"plkeygen: others can get at {laptop.home}: chmod 700 {laptop.home}\n",
    )
    laptop.home.chmod(0o700)
    (laptop.home / "key.pem").write_text("")
    (laptop.home / "key.pem").chmod(0o644)
    assert f"chmod 600 {laptop.home / 'key.pem'}" in laptop.plkeygen(stdin="x\n").stderr

    link = Laptop(laptop.plc, tmp_path / "link")
    (tmp_path / "real").mkdir(mode=0o700)
    link.home.symlink_to(tmp_path / "real")
    linked = link.plkeygen(stdin="x\n")
    assert linked.returncode == 4
    assert "not a link" in linked.stderr


def test_a_valid_certificate_is_kept_unless_forced(laptop: Laptop) -> None:
    email = laptop.plc.person()
    enrolled(laptop, email)
    before = [(laptop.home / name).read_text() for name in ("key.pem", "cert.pem")]

    again = laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n")
    assert again.returncode == 2
    assert "--force" in again.stderr

    assert laptop.plkeygen("--force", stdin=f"{email}\n{PASSWORD}\n").returncode == 0
    assert [(laptop.home / name).read_text() for name in ("key.pem", "cert.pem")] == before
    assert laptop.plkeygen("--refresh", "--email", email).returncode == 1  # the new one waits

    approve(laptop.plc, email)
    assert laptop.plkeygen("--refresh", "--email", email).returncode == 0
    assert (laptop.home / "key.pem").read_text() != before[0]
    assert Credentials(laptop.home).exists()
    assert sorted(path.name for path in laptop.home.iterdir()) == ["ca.pem", "cert.pem", "checked.json", "key.pem"]


def test_renew_keeps_the_key_and_rotate_revokes_the_old_certificate(laptop: Laptop) -> None:
    email = laptop.plc.person(is_pi=True)
    enrolled(laptop, email)
    key, old = (laptop.home / "key.pem").read_text(), Credentials(laptop.home).certificate

    renewed = laptop.plkeygen("--renew")
    assert (renewed.returncode, renewed.stdout[:26]) == (0, "Certificate renewed until ")
    assert (laptop.home / "key.pem").read_text() == key
    assert Credentials(laptop.home).certificate.serial_number != old.serial_number
    replaced = Credentials(laptop.home).certificate.serial_number

    rotated = laptop.plkeygen("--rotate")
    assert rotated.returncode == 0, rotated.stderr
    assert (laptop.home / "key.pem").read_text() != key
    store = laptop.plc.store()
    assert store.revocations is not None
    assert replaced in store.revocations.serials
    assert Credentials(laptop.home).certificate.serial_number not in store.revocations.serials

    shown = laptop.plkeygen("--status")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"You are {email}, PI.\nCertificate valid until 2")


def test_a_rotation_that_was_cut_off_is_finished_later(laptop: Laptop) -> None:
    email = laptop.plc.person()
    enrolled(laptop, email)
    old = Credentials(laptop.home).certificate.serial_number
    laptop.plkeygen("--renew")
    (laptop.home / "replaced-serial").write_text(f"{old:x}\n")

    assert laptop.plkeygen("--status").returncode == 0

    assert not (laptop.home / "replaced-serial").exists()
    revocations = laptop.plc.store().revocations
    assert revocations is not None
    assert old in revocations.serials


def test_the_way_back_after_the_flag_was_lost(laptop: Laptop) -> None:
    email = laptop.plc.person(is_pi=True)
    enrolled(laptop, email)
    with laptop.plc.central.begin() as connection:
        now = laptop.plc.central.clock.now()
        deactivation.set_pi(connection, AS_OPERATOR, email, False, laptop.plc.settings, now)

    lost = laptop.plkeygen("--status")
    assert lost.returncode == 4
    assert "revoked" in lost.stderr
    assert laptop.plkeygen("--renew").returncode == 4
    assert laptop.plkeygen("--refresh", "--email", email).returncode == 4

    enrolled(laptop, email)
    assert laptop.plkeygen("--status").stdout.startswith(f"You are {email}, not a PI.")


def test_refresh_after_a_rotation_or_a_renewal_keeps_the_newest(laptop: Laptop) -> None:
    email = laptop.plc.person()
    enrolled(laptop, email)
    for change in ("--renew", "--rotate"):
        time.sleep(1)  # a certificate's time has whole seconds: which of two is newer
        assert laptop.plkeygen(change).returncode == 0
        newest = (laptop.home / "cert.pem").read_text()
        again = laptop.plkeygen("--refresh", "--email", email)
        assert (again.returncode, again.stdout) == (0, "Certificate downloaded.\n")
        assert (laptop.home / "cert.pem").read_text() == newest
    assert laptop.plkeygen("--refresh", "--email", laptop.plc.person()).returncode == 1


def test_near_its_end_refresh_renews(laptop: Laptop) -> None:
    settings = laptop.plc.settings.model_copy(update={"user_lifetime": 20 * 86_400})
    who = laptop.plc.certified(settings=settings)
    laptop.home = who.credentials.directory
    old = who.credentials.certificate

    assert "Renew it: plkeygen --renew" in laptop.plkeygen("--status").stderr
    another = laptop.plkeygen("--refresh", "--email", laptop.plc.person())
    assert (another.returncode, f"is {who.email}'s, not" in another.stderr) == (2, True)
    refreshed = laptop.plkeygen("--refresh", "--email", who.email)

    assert (refreshed.returncode, refreshed.stdout) == (0, "Certificate downloaded.\n")
    assert who.credentials.certificate.not_valid_after_utc > old.not_valid_after_utc


def test_status_without_plc_is_what_the_certificate_says(laptop: Laptop) -> None:
    who = laptop.plc.certified()
    laptop.home, laptop.environment = who.credentials.directory, {"DSLICE_PLC_URL": "https://127.0.0.1:1"}
    shown = laptop.plkeygen("--status")
    assert (shown.returncode, shown.stdout[: len(who.email) + 8]) == (0, f"You are {who.email}")
    assert "Cannot tell whether plc accepts it" in shown.stderr


def test_a_ca_file_that_is_not_the_pinned_one(laptop: Laptop, tmp_path: Path) -> None:
    who, stranger = laptop.plc.certified(), Authority.create(laptop.plc.central.clock.now())
    (tmp_path / "ca.pem").write_text(certificate_to_pem(stranger.certificate))
    laptop.home, laptop.vouched = who.credentials.directory, False
    laptop.environment = {"DSLICE_CA_FILE": str(tmp_path / "ca.pem")}
    other = laptop.plkeygen("--refresh", "--email", who.email)
    assert (other.returncode, "was expected" in other.stderr) == (5, True)


def test_a_key_that_is_none(laptop: Laptop) -> None:
    who = laptop.plc.certified()
    laptop.home = who.credentials.directory
    (laptop.home / "key.pem").write_text(key_to_pem(new_private_key(Role.NODE)))
    other = laptop.plkeygen("--refresh", "--email", who.email)
    assert (other.returncode, "not an RSA key" in other.stderr) == (2, True)


def test_a_certificate_that_does_not_fit_is_not_saved(laptop: Laptop) -> None:
    who, key = laptop.plc.certified(), new_private_key(Role.USER)
    assert isinstance(key, RSAPrivateKey)
    keys = Keys(Home(who.credentials.directory, laptop.plc.url), SystemClock())
    mine, now = laptop.plc.user_key, laptop.plc.central.clock.now()
    assert isinstance(mine, RSAPrivateKey)
    pem = certificate_to_pem(who.credentials.certificate)
    refused(lambda: keys._checked(pem, key, who.identity), Code.WRONG_CERTIFICATE, "for another key")
    other = Identity.user("other@example.org")
    refused(lambda: keys._checked(pem, mine, other), Code.WRONG_CERTIFICATE, f"for {who.email}, not other@")
    foreign = Authority.create(now).issue(who.identity, mine.public_key(), now=now, lifetime=60)
    forged = certificate_to_pem(foreign)
    refused(lambda: keys._checked(forged, mine, who.identity), Code.NOT_AUTHENTICATED, "not one that plc's CA issued")


def test_the_way_back_after_the_end(laptop: Laptop) -> None:
    who = laptop.plc.certified(settings=laptop.plc.settings.model_copy(update={"user_lifetime": 0}))
    laptop.home = who.credentials.directory
    key = (laptop.home / "key.pem").read_text()
    for mode in ("--renew", "--rotate", "--status"):
        ended = laptop.plkeygen(mode)
        assert (ended.returncode, "your certificate ended at" in ended.stderr) == (4, True)

    enrolled(laptop, who.email)

    assert laptop.plkeygen("--status").returncode == 0
    assert (laptop.home / "key.pem").read_text() == key


@pytest.mark.parametrize(
    ("words", "stdin", "status", "line"),
    [
        (["--refresh"], "nobody@example.org\n", 4, "run plkeygen first"),
        (["--status"], "", 4, "run plkeygen"),
        (["--renew"], "", 4, "run plkeygen"),
        (["--rotate"], "", 4, "run plkeygen"),
        (["--force", "--renew"], "", 2, "does not go with --renew"),
        (["--refresh", "--status"], "", 2, "--refresh and --status are 2 things to do"),
        ([], "", 2, "no email on stdin"),
        ([], "a@example.org\n", 2, "no password on stdin"),
        ([], "not an e-mail\nsecret-password\n", 2, "not a lower-case e-mail"),
        (["--nonsense"], "", 2, "see: plkeygen --help"),
    ],
)
def test_each_mistake_is_one_line(laptop: Laptop, words: list[str], stdin: str, status: int, line: str) -> None:
    mistaken = laptop.plkeygen(*words, stdin=stdin)

    assert mistaken.returncode == status
    assert line in mistaken.stderr
    assert mistaken.stderr.count("\n") == 1
    assert mistaken.stdout == ""


def test_a_key_without_a_request_and_another_users_email(laptop: Laptop) -> None:
    email, other = laptop.plc.person(), laptop.plc.person()
    laptop.plkeygen(stdin=f"{email}\n{PASSWORD}\n")
    unknown = laptop.plkeygen("--refresh", "--email", other)
    assert unknown.returncode == 1
    assert unknown.stderr == f"plkeygen: there is no certificate request of {other} with this key; run plkeygen\n"


def test_plc_unset_or_away(laptop: Laptop) -> None:
    laptop.environment = {"DSLICE_PLC_URL": ""}
    assert "DSLICE_PLC_URL" in laptop.plkeygen(stdin="a@example.org\nsecret-password\n").stderr
    laptop.environment = {"DSLICE_PLC_URL": "https://127.0.0.1:1"}
    away = laptop.plkeygen(stdin="a@example.org\nsecret-password\n")
    assert away.returncode == 5
    assert away.stderr.count("\n") == 1
