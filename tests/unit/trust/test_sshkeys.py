import base64
import io

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust import factories as make
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.sshkeys import KEY_TYPES, MAX_TEXT, PublicKey, new_ssh_key_pair, parse_public_key


def line_of(key: object) -> str:
    assert hasattr(key, "public_bytes")
    return str(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


ED25519 = line_of(ed25519.Ed25519PrivateKey.generate().public_key())
LINES = {
    "ssh-ed25519": ED25519,
    "ssh-rsa": line_of(make.key_of(Role.USER).public_key()),
    "ecdsa-sha2-nistp256": line_of(ec.generate_private_key(ec.SECP256R1()).public_key()),
    "ecdsa-sha2-nistp384": line_of(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "ecdsa-sha2-nistp521": line_of(ec.generate_private_key(ec.SECP521R1()).public_key()),
}


def refused(text: str) -> str:
    with pytest.raises(Refusal) as refusal:
        parse_public_key(text)
    assert refusal.value.code is Code.BAD_INPUT
    return refusal.value.reason


@pytest.mark.parametrize("kind", LINES)
def test_every_type_is_read_and_known_to_the_front_door(kind: str) -> None:
    key = parse_public_key(LINES[kind] + " llp@gentoo\n")
    assert key == PublicKey(kind, base64.b64decode(LINES[kind].split()[1]), "llp@gentoo")
    assert key.line == LINES[kind] + " llp@gentoo"
    known = paramiko.PKey.from_type_string(key.type, key.blob)
    assert known.asbytes() == key.blob
    assert known.fingerprint == key.fingerprint


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        (ED25519, ""),
        (f"  {ED25519}  \r\n", ""),
        (f"{ED25519} a  b\tc ", "a b c"),
        (ED25519.replace(" ", "\t") + " x", "x"),
        (f"{ED25519} Jürgen", "Jürgen"),
        (f"{ED25519} ssh-rsa", "ssh-rsa"),
    ],
)
def test_white_space_and_comments_are_written_anew(text: str, comment: str) -> None:
    key = parse_public_key(text)
    assert key.comment == comment
    assert key.line == f"{ED25519} {comment}".strip()
    assert parse_public_key(key.line) == key


@pytest.mark.parametrize(
    "text", ["", "\n", f"{ED25519}\n{ED25519}", f'{ED25519}\ncommand="sh" {ED25519}', f"#x\n{ED25519}"]
)
def test_anything_but_one_line_is_refused(text: str) -> None:
    assert "one line" in refused(text)


@pytest.mark.parametrize("separator", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_other_line_ends_are_line_ends(separator: str) -> None:
    assert "one line" in refused(f"{ED25519}{separator}{ED25519}")


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\u202e", "\ud800"])
def test_control_characters_are_refused(character: str) -> None:
    assert "control" in refused(f"{ED25519} a{character}b")


@pytest.mark.parametrize("kind", ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_a_private_key_is_refused_as_such(kind: str) -> None:
    assert "private key" in refused(f"-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")


@pytest.mark.parametrize(
    "options", ['command="sh"', "no-pty", 'from="*.edu",no-pty', "cert-authority", 'environment="A=b c"']
)
def test_options_are_refused(options: str) -> None:
    assert "options" in refused(f"{options} {ED25519}")


def test_dsa_is_refused() -> None:
    assert "DSA" in refused("ssh-dss AAAAB3NzaC1kc3MAAACBAP x")


@pytest.mark.parametrize("kind", ["ssh-rsa-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com"])
def test_certificates_are_refused(kind: str) -> None:
    assert "certificate" in refused(f"{kind} {ED25519.split()[1]}")


@pytest.mark.parametrize("kind", ["ssh-ed448", "sk-ssh-ed448@openssh.com", "SSH-RSA", "hello", "1024"])
def test_other_types_are_refused(kind: str) -> None:
    assert "unknown type" in refused(f"{kind} {ED25519.split()[1]}")


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_is_refused(bits: int) -> None:
    assert f"{bits} bits" in refused(line_of(make.rsa_key_of_bits(bits)))


def test_rsa_of_2048_bits_is_enough() -> None:
    assert parse_public_key(line_of(make.rsa_key_of_bits(2048))).type == "ssh-rsa"


def test_sixteen_kibibytes_are_the_limit() -> None:
    padding = MAX_TEXT - len(ED25519) - 1
    assert parse_public_key(f"{ED25519} {'x' * padding}")
    assert "longer" in refused(f"{ED25519} {'x' * padding}x")
    assert "longer" in refused(f"{ED25519} {'x' * (padding - 1)}é")


@pytest.mark.parametrize(
    "text",
    [
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAA",
        ED25519[:-4],
        ED25519 + "AAAA",
        "ssh-rsa " + ED25519.split()[1],
        "ecdsa-sha2-nistp256 " + LINES["ecdsa-sha2-nistp384"].split()[1],
    ],
)
def test_a_damaged_key_is_refused(text: str) -> None:
    assert "damaged" in refused(text)


def test_a_compressed_point_is_refused() -> None:
    """OpenSSH takes none either, and cryptography raises NotImplementedError."""
    kind = "ecdsa-sha2-nistp256"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    fields = (kind.encode(), b"nistp256", point)
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    assert "damaged" in refused(f"{kind} {base64.b64encode(blob).decode()}")


@given(st.text(max_size=60), st.sampled_from([*LINES.values(), "", "ssh-rsa AAAA"]), st.text(max_size=60))
def test_text_is_refused_or_one_plain_line(before: str, line: str, after: str) -> None:
    try:
        key = parse_public_key(before + line + after)
    except Refusal:
        return
    assert key.line.isprintable()
    assert key.line.startswith(KEY_TYPES)
    assert parse_public_key(key.line) == key


def test_a_new_pair_opens_what_its_public_line_closes() -> None:
    private, public = new_ssh_key_pair("oceanstore slice")
    key = parse_public_key(public)
    assert key.comment == "oceanstore slice"
    assert key.type == "ssh-ed25519"
    assert paramiko.Ed25519Key.from_private_key(io.StringIO(private)).asbytes() == key.blob
    loaded = serialization.load_ssh_private_key(private.encode(), password=None)
    assert line_of(loaded.public_key()) == " ".join(public.split()[:2])
    assert new_ssh_key_pair("x")[0] != private


def test_a_pairs_comment_is_one_line() -> None:
    with pytest.raises(Refusal):
        new_ssh_key_pair("a\nb")
