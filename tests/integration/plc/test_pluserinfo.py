"""`pluserinfo` as in the howto, and uploading keys with it."""

from pathlib import Path

import pytest

from tests.integration.plc.conftest import Certified, Running
from tests.integration.plc.programs import Laptop
from trust.errors import printable
from trust.keyfiles import parse_public_keys
from trust.sshkeys import new_ssh_key_pair, parse_public_key


def laptop_of(plc: Running, who: Certified) -> Laptop:
    return Laptop(plc, who.credentials.directory)


@pytest.fixture
def larry(plc: Running) -> Certified:
    """The howto's example."""
    return plc.certified(is_pi=True)


def test_the_howtos_fields_in_its_order(plc: Running, larry: Certified) -> None:
    key = new_ssh_key_pair("llp@gentoo")[1]
    laptop = laptop_of(plc, larry)
    added = laptop.pluserinfo("--add-key", "-", stdin=f"{key}\n")
    assert added.stdout == f"Key added: {parse_public_key(key).fingerprint}\n"

    shown = laptop.started("pluserinfo", larry.email)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == [
        f"EMAIL: {larry.email}",
        f"NAME: User {larry.email.removeprefix('user').partition('@')[0]}",
        "SITE_NAME: Princeton",
        "TITLE: Professor",
        "IS_ADM: f",
        "IS_PI: t",
        "ADDRESS: 35 Olden Street",
        "CITY: Princeton",
        "STATE: NJ",
        "ZIP: 08544",
        "COUNTRY: US",
        "PHONE: 609-258-6077",
        "URL:",
        f"SSH_PUBKEY: {key}",
    ]
    assert laptop.pluserinfo().stdout == shown.stdout


def test_strangers_see_no_contact_fields_but_the_keys(plc: Running, larry: Certified) -> None:
    stranger = laptop_of(plc, plc.certified(site="Duke"))
    shown = stranger.pluserinfo(larry.email)
    assert shown.returncode == 0
    assert "ADDRESS:\nCITY:\nSTATE:\nZIP:\nCOUNTRY:\nPHONE:\nURL:\nSSH_PUBKEY:\n" in shown.stdout
    assert shown.stderr.startswith("pluserinfo: contact fields are shown")


def test_the_keys_alone_are_a_line_each_fit_for_addkey(plc: Running, larry: Certified, tmp_path: Path) -> None:
    laptop, other = laptop_of(plc, larry), laptop_of(plc, plc.certified())
    none = other.pluserinfo("--key", larry.email)
    assert none.returncode == 1
    assert none.stderr == f"pluserinfo: {larry.email} has no SSH key; they upload one with pluserinfo --add-key FILE\n"

    first, second = new_ssh_key_pair("first")[1], new_ssh_key_pair("second")[1]
    (tmp_path / "authorized_keys").write_text(f"# mine\n{first}\n\n{second}\n")
    added = laptop.pluserinfo("--add-key", str(tmp_path / "authorized_keys"))
    assert (added.returncode, added.stdout.count("Key added: SHA256:")) == (0, 2)
    shown = other.pluserinfo("--key", larry.email.upper())
    assert (shown.stdout, shown.stderr) == (f"{second}\n{first}\n", "")
    assert [key.line for key in parse_public_keys(shown.stdout.encode())] == [second, first]

    removed = laptop.pluserinfo("--remove-key", parse_public_key(second).fingerprint)
    assert removed.returncode == 0
    assert other.pluserinfo("--key", larry.email).stdout == f"{first}\n"


@pytest.mark.parametrize(
    ("words", "stdin", "status", "line"),
    [
        (["ghost@example.org"], "", 1, "there is no account ghost@example.org"),
        (["--key", "ghost@example.org"], "", 1, "there is no account ghost@example.org"),
        (["not-an-email"], "", 2, "not a lower-case e-mail"),
        (["--add-key", "-", "other@example.org"], "ssh-ed25519 x\n", 4, "theirs to change"),
        (["--add-key", "-"], "nonsense\n", 2, "unknown type"),
        (["--add-key", "-"], "a\nb\n", 2, "line 1: this SSH public key is of an unknown type"),
        (["--add-key", "/nonexistent"], "", 2, "No such file"),
        (["--remove-key", "SHA256:nothing"], "", 1, "has no SSH key"),
        (["--odd"], "", 2, "see: pluserinfo --help"),
    ],
)
def test_each_mistake_is_one_line(
    plc: Running, larry: Certified, words: list[str], stdin: str, status: int, line: str
) -> None:
    refused = laptop_of(plc, larry).pluserinfo(*words, stdin=stdin)
    assert (refused.returncode, refused.stdout) == (status, "")
    assert line in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_without_a_certificate_and_without_plc(plc: Running, larry: Certified, tmp_path: Path) -> None:
    nobody = Laptop(plc, tmp_path / "nobody").pluserinfo(larry.email)
    assert nobody.returncode == 4
    assert "run plkeygen" in nobody.stderr
    away = Laptop(plc, larry.credentials.directory, {"DSLICE_PLC_URL": "https://127.0.0.1:1"}).pluserinfo()
    assert away.returncode == 5
    unset = Laptop(plc, larry.credentials.directory, {"DSLICE_PLC_URL": ""}).pluserinfo()
    assert (unset.returncode, "DSLICE_PLC_URL" in unset.stderr) == (2, True)


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    """plc takes printable texts only; this is the second lock on that door."""
    assert printable("a\x1b[2Jb\nc") == "a [2Jb c"
