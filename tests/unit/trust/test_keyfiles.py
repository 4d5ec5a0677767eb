"""Files of keys: what is unambiguous is taken, the rest is told how to become it. ssh-keygen is the real one."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.frontdoor.device import Device
from trust.errors import Code, Refusal
from trust.keyfiles import MAX_BYTES, MAX_KEYS, parse_public_keys
from trust.securitykeys import SECURITY_KEY_TYPES
from trust.sshkeys import new_ssh_key_pair, parse_public_key

ONE, TWO = (new_ssh_key_pair(name)[1] for name in ("one", "two"))


def lines_of(data: bytes) -> list[str]:
    return [key.line for key in parse_public_keys(data)]


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as refusal:
        parse_public_keys(data)
    assert refusal.value.code is Code.BAD_INPUT
    assert "\n" not in refusal.value.reason
    return refusal.value.reason


def test_a_groups_authorized_keys() -> None:
    text = f"# the group\n\n{ONE}\r\n   \n  # two's laptop\n{TWO}\n{ONE} again\n\n"
    assert lines_of(text.encode()) == [f"{ONE} again", TWO]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_what_editors_and_shells_write(encoding: str, end: str) -> None:
    """PowerShell's > writes UTF-16, Notepad a byte order mark."""
    assert lines_of(f"{ONE} Jürgen{end}".encode(encoding)) == [f"{ONE} Jürgen"]


def test_big_endian_utf_16() -> None:
    assert lines_of(b"\xfe\xff" + ONE.encode("utf-16-be")) == [ONE]


def test_utf_16_without_a_mark_is_told_to_become_utf_8() -> None:
    assert "save it as UTF-8" in refused(ONE.encode("utf-16-le"))


@pytest.mark.parametrize("space", ["\N{NO-BREAK SPACE}", "\N{EM SPACE}", "\t"])
def test_other_spaces_are_spaces(space: str) -> None:
    assert lines_of(f"{ONE}{space}at{space}home".encode()) == [f"{ONE} at home"]
    assert lines_of(ONE.replace(" ", space).encode()) == [ONE]


@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
def test_other_formats_name_the_command_that_converts_them(form: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "", "-f", key], check=True)
    other = subprocess.run(["ssh-keygen", "-e", "-m", form, "-f", f"{key}.pub"], check=True, stdout=subprocess.PIPE)
    reason = refused(other.stdout)
    cure = reason.partition("give what ")[2].removesuffix(" prints").replace("FILE", str(tmp_path / "other"))
    assert cure.startswith("ssh-keygen -i"), reason
    (tmp_path / "other").write_bytes(other.stdout)
    printed = subprocess.run(cure.split(), check=True, stdout=subprocess.PIPE).stdout
    assert lines_of(printed) == [parse_public_key(Path(f"{key}.pub").read_text()).line]


def test_a_private_key_of_putty() -> None:
    assert "private key" in refused(b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n")


@pytest.mark.parametrize("kind", SECURITY_KEY_TYPES)
def test_a_fido_key(kind: str, tmp_path: Path) -> None:
    device = Device(kind)
    (key,) = parse_public_keys(device.line.encode())
    assert (key.type, key.blob, key.comment) == (kind, device.blob, "a device")
    (tmp_path / "sk.pub").write_text(device.line + "\n")
    told = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "sk.pub"], check=True, stdout=subprocess.PIPE)
    assert key.fingerprint in told.stdout.decode()


@pytest.mark.parametrize("options", ['command="sh"', 'from="10.0.0.0/8",no-pty', 'environment="A=b c"', "restrict"])
@pytest.mark.parametrize("line", [TWO, Device(SECURITY_KEY_TYPES[0]).line])
def test_options_are_never_dropped(options: str, line: str) -> None:
    assert "options" in refused(f"{options} {line}".encode())
    assert refused(f"{ONE}\n\n{options} {line}\n".encode()).startswith("line 3: this SSH public key has options")


def test_one_bad_line_spoils_the_file() -> None:
    assert refused(f"{ONE}\nhello\n{TWO}".encode()).startswith("line 2: ")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"# nothing\n", b"\xef\xbb\xbf"])
def test_no_key_at_all(data: bytes) -> None:
    assert "no SSH public key" in refused(data)


def test_more_than_one_operation_takes() -> None:
    many = [new_ssh_key_pair(str(number))[1] for number in range(MAX_KEYS + 1)]
    assert len(parse_public_keys("\n".join(many[:MAX_KEYS]).encode())) == MAX_KEYS
    assert f"{MAX_KEYS} are taken at once" in refused("\n".join(many).encode())
    assert "larger" in refused(b"#" * (MAX_BYTES + 1))
