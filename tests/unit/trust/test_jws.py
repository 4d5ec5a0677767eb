"""The form of a signed document: what is refused before anybody looks at what it says, and in which order."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact, serialize_compact

from tests.unit.trust import factories as make
from tests.unit.trust.factories import NODE, USER, part, unpart
from trust.documents import Ticket, sign_delegation, sign_ticket, verify_delegation, verify_ticket
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import MAX_TOKEN
from trust.keys import PrivateKey

KEY, CERTIFICATE = make.key_of(Role.AGENT), make.certificate_of(make.AGENT)
# ECDSA signs differently each time; this one has a character in which base64url is not base64.
TOKEN = next(token for token in iter(lambda: sign_ticket(make.ticket(), KEY, CERTIFICATE), "") if {"-", "_"} & {*token})
HEADER: dict[str, Any] = unpart(TOKEN.split(".")[0])
CLAIMS: dict[str, Any] = unpart(TOKEN.split(".")[1])


def verify(token: str, *revoked: int) -> Ticket:
    return verify_ticket(token, store=make.store_of(*revoked), audience=NODE)


def refused(token: str, *revoked: int) -> Code:
    with pytest.raises(Refusal) as refusal:
        verify(token, *revoked)
    return refusal.value.code


def signed(header: object, payload: object, key: PrivateKey = KEY) -> str:
    """Any two parts, signed by the agent as they stand (ES256)."""
    text = f"{part(header)}.{part(payload)}"
    alg = JWSRegistry(algorithms=["ES256"]).get_alg("ES256")
    signature = alg.sign(text.encode(), ECKey.import_key(key))  # type: ignore[arg-type]
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_parts_signed_by_hand_are_taken() -> None:
    assert verify(signed(HEADER, CLAIMS)) == verify(TOKEN) == make.ticket()


def test_another_program_takes_what_is_signed_here() -> None:
    registry = JWSRegistry()
    registry.max_header_length = MAX_TOKEN
    deserialize_compact(TOKEN, ECKey.import_key(KEY.public_key()), registry=registry)  # type: ignore[arg-type]
    text = sign_delegation(make.delegation(), make.key_of(Role.USER), make.certificate_of(USER))
    registry = JWSRegistry(algorithms=["PS256"])
    registry.max_header_length = MAX_TOKEN
    deserialize_compact(text, RSAKey.import_key(make.key_of(Role.USER).public_key()), registry=registry)  # type: ignore[arg-type]


def test_the_header_is_exactly_three_members() -> None:
    assert {
        "alg": "ES256",
        "typ": "dslice-ticket+jwt",
        "x5c": [base64.b64encode(make.der(CERTIFICATE)).decode()],
    } == HEADER


@pytest.mark.parametrize("token", ["", ".", "..", "....", "a.b", TOKEN + ".", "." + TOKEN, TOKEN.rpartition(".")[0]])
def test_a_document_has_three_parts(token: str) -> None:
    assert refused(token) is Code.BAD_INPUT


def test_eight_kibibytes_are_the_limit() -> None:
    def padded(spaces: int) -> str:
        return signed(HEADER, json.dumps(CLAIMS) + " " * spaces)

    room = (MAX_TOKEN - len(padded(0))) * 3 // 4
    fitting, too_long = padded(room - 2), padded(room + 2)
    assert MAX_TOKEN - 8 < len(fitting) <= MAX_TOKEN < len(too_long) < MAX_TOKEN + 8
    assert verify(fitting) == make.ticket()
    assert refused(too_long) is Code.BAD_INPUT


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token.replace(".", "=.", 1),
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token[:-2] + "!" + token[-2:],
        lambda token: token.replace(".", "é.", 1),
        lambda token: token[:-1] + chr(ord(token[-1]) + 1),
        lambda token: token[:-1],
        lambda token: token.replace("-", "+").replace("_", "/"),
    ],
)
def test_only_one_text_stands_for_a_document(change: Callable[[str], str]) -> None:
    # 64 bytes of signature leave four bits of the last character unused: 'A', 'Q', 'g' and 'w' only.
    assert TOKEN[-1] in "AQgw"
    assert refused(change(TOKEN)) is Code.BAD_INPUT


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "PS256"},
        {"alg": "ES384"},
        {"alg": ["ES256"]},
        {"alg": None},
        {"typ": "dslice-lease+jwt"},
        {"typ": "dslice-delegation+jwt"},
        {"typ": "DSLICE-TICKET+JWT"},
        {"typ": "application/dslice-ticket+jwt"},
        {"typ": "JWT"},
        {"typ": None},
        {"kid": "1"},
        {"jwk": {}},
        {"crit": []},
        {"b64": True},
        {"x5u": "https://x.org"},
        {"x5c": []},
        {"x5c": None},
        {"x5c": HEADER["x5c"][0]},
        {"x5c": HEADER["x5c"] * 2},
        {"x5c": [HEADER["x5c"]]},
        {"x5c": [HEADER["x5c"][0], ""]},
        {"x5c": [HEADER["x5c"][0] + "!"]},
        {"x5c": [HEADER["x5c"][0][:-3]]},
        {"x5c": {"0": HEADER["x5c"][0]}},
        {"x5c": [7]},
    ],
)
def test_a_header_with_anything_else_is_refused(changes: dict[str, Any]) -> None:
    assert refused(signed(HEADER | changes, CLAIMS)) is Code.BAD_INPUT


@pytest.mark.parametrize("name", ["alg", "typ", "x5c"])
def test_a_header_with_anything_less_is_refused(name: str) -> None:
    assert refused(signed({key: HEADER[key] for key in HEADER if key != name}, CLAIMS)) is Code.BAD_INPUT


@pytest.mark.parametrize("value", [[], "text", 7, None, [HEADER]])
def test_header_and_payload_are_objects(value: object) -> None:
    assert refused(signed(json.dumps(value), CLAIMS)) is Code.BAD_INPUT
    assert refused(signed(HEADER, json.dumps(value))) is Code.BAD_INPUT


@pytest.mark.parametrize("key", ["alg", "typ", "x5c"])
def test_a_key_twice_in_the_header_is_refused(key: str) -> None:
    header = json.dumps(HEADER)
    twice = header[:-1] + f", {json.dumps(key)}: {json.dumps(HEADER[key])}" + "}"
    assert json.loads(twice) == HEADER
    assert refused(signed(twice, CLAIMS)) is Code.BAD_INPUT


@pytest.mark.parametrize("key", ["sub", "slice", "exp"])
def test_a_key_twice_in_the_payload_is_refused(key: str) -> None:
    twice = "{" + f"{json.dumps(key)}: {json.dumps(CLAIMS[key])}, " + json.dumps(CLAIMS)[1:]
    assert json.loads(twice) == CLAIMS
    assert refused(signed(HEADER, twice)) is Code.BAD_INPUT


@pytest.mark.parametrize(
    "payload", ["{", "", "{'a': 1}", '{"iat": NaN}', '{"iat": -Infinity}', "[" * 3000, '{"a":' * 600, "1" * 5000]
)
def test_what_is_no_json_is_refused(payload: str) -> None:
    assert refused(signed(HEADER, payload)) is Code.BAD_INPUT


def test_a_payload_that_is_no_utf8_is_refused() -> None:
    broken = base64.urlsafe_b64encode(b'{"jti": "\xff"}').rstrip(b"=").decode()
    head, _, signature = TOKEN.split(".")
    assert refused(f"{head}.{broken}.{signature}") is Code.BAD_INPUT


def test_a_number_that_is_no_json_is_refused_even_where_its_value_would_not_matter() -> None:
    with pytest.raises(Refusal) as refusal:
        verify(signed(HEADER, json.dumps(CLAIMS | {"exp": float("nan")})))
    assert "not JSON" in refusal.value.reason


def test_a_signature_of_another_key_is_refused() -> None:
    assert refused(signed(HEADER, CLAIMS, make.key_of(Role.AGENT, 1))) is Code.NOT_AUTHENTICATED


def test_a_signature_of_another_length_is_refused() -> None:
    head, payload, _ = TOKEN.split(".")
    for signature in ("", part("x")):
        assert refused(f"{head}.{payload}.{signature}") is Code.NOT_AUTHENTICATED


def test_the_public_key_is_no_shared_secret() -> None:
    """The classic: alg HS256, with what everybody knows of the certificate as the secret."""
    text = f"{part(HEADER | {'alg': 'HS256'})}.{part(CLAIMS)}"
    mac = hmac.digest(make.der(CERTIFICATE), text.encode(), "sha256")
    token = f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert refused(token) is Code.BAD_INPUT


@pytest.mark.parametrize("alg", ["RS256", "PS384", "PS512"])
def test_a_delegation_is_signed_with_ps256_only(alg: str) -> None:
    key, certificate = make.key_of(Role.USER), make.certificate_of(USER)
    good = sign_delegation(make.delegation(), key, certificate)
    header, payload, _ = good.split(".")
    registry = JWSRegistry(algorithms=[alg])
    registry.max_header_length = MAX_TOKEN
    jwk = RSAKey.import_key(key)  # type: ignore[arg-type]
    assert unpart(header)["alg"] == "PS256"
    token = serialize_compact(unpart(header) | {"alg": alg}, json.dumps(unpart(payload)), jwk, registry=registry)
    mislabelled = f"{header}.{payload}.{token.split('.')[2]}"
    for text, code in ((token, Code.BAD_INPUT), (mislabelled, Code.NOT_AUTHENTICATED)):
        with pytest.raises(Refusal) as refusal:
            verify_delegation(text, store=make.store_of(), audience=None)
        assert refusal.value.code is code


def test_a_signer_of_another_role_is_refused() -> None:
    for identity in (NODE, make.SVM, make.PLC):
        certificate = make.certificate_of(identity)
        token = sign_ticket(make.ticket(issuer=identity), make.key_of(identity.role), certificate)
        assert refused(token) is Code.NOT_ALLOWED


def test_a_revoked_signer_is_refused() -> None:
    assert refused(TOKEN, CERTIFICATE.serial_number) is Code.REVOKED


def test_a_signer_of_another_ca_is_refused() -> None:
    stranger = make.authority(1).issue(make.AGENT, KEY.public_key(), now=make.NOW, lifetime=make.DAY)
    assert refused(sign_ticket(make.ticket(), KEY, stranger)) is Code.NOT_AUTHENTICATED


def test_a_signer_whose_certificate_cannot_be_read_is_refused() -> None:
    assert refused(signed(HEADER | {"x5c": ["AAAA"]}, CLAIMS)) is Code.NOT_AUTHENTICATED


def test_checks_come_in_their_order() -> None:
    """Each document has the next two things wrong with it, and is refused for the first."""
    serial = CERTIFICATE.serial_number
    other_key = make.key_of(Role.AGENT, 1)
    assert refused(signed(HEADER, json.dumps(CLAIMS)[:-1] + ',"jti":"t-1"}'), serial) is Code.BAD_INPUT
    assert refused(signed(HEADER, CLAIMS, other_key), serial) is Code.REVOKED
    assert refused(signed(HEADER, CLAIMS | {"leaselen": "x"}, other_key)) is Code.NOT_AUTHENTICATED
    elsewhere = CLAIMS | {"aud": Identity(Role.NODE, "n2").uri}
    assert refused(signed(HEADER, elsewhere | {"leaselen": "x"})) is Code.BAD_INPUT
    assert refused(signed(HEADER, elsewhere | {"exp": CLAIMS["iat"] - 100})) is Code.NOT_ALLOWED
    endless = CLAIMS | {"iat": CLAIMS["iat"] - 9000, "exp": CLAIMS["iat"] - 31}
    assert refused(signed(HEADER, endless)) is Code.TICKET_EXPIRED


def test_only_rsa_and_ecdsa_keys_sign() -> None:
    with pytest.raises(TypeError):
        sign_ticket(make.ticket(), ed25519.Ed25519PrivateKey.generate(), CERTIFICATE)  # type: ignore[arg-type]


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="utf-8"))
def test_whatever_is_changed_in_a_document_it_is_refused(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    if changed != TOKEN:
        assert refused(changed) in {Code.BAD_INPUT, Code.NOT_AUTHENTICATED}


def test_a_document_that_comes_again_is_asked_only_what_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    token = sign_ticket(make.ticket(), KEY, CERTIFICATE)
    assert verify(token) == make.ticket()
    monkeypatch.setattr("trust.jws._is_signature", None)
    assert verify(token) == make.ticket()
    assert refused(token, CERTIFICATE.serial_number) is Code.REVOKED
    store = make.store_of()
    with pytest.raises(Refusal) as refusal:
        verify_ticket(token, store=store, audience=Identity(Role.NODE, "another"))
    assert refusal.value.code is Code.NOT_ALLOWED


def test_what_is_remembered_is_a_whole_text_and_no_refusal() -> None:
    token = sign_ticket(make.ticket(), KEY, CERTIFICATE)
    other = sign_ticket(make.ticket(leaselen=77), KEY, CERTIFICATE)
    forged = ".".join([*token.split(".")[:2], other.split(".")[2]])
    assert verify(token) == make.ticket()
    for _ in range(2):
        assert refused(forged) is Code.NOT_AUTHENTICATED
    assert verify(token) == make.ticket()
