"""Tokens, proofs and stop lists as texts; answers of plc that make no sense."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import serialize_compact

from plc.client.calls import _parse
from plc.client.proofs import PROOF, STOPS, check_proof, key_sha256, read_stops, sign_proof, sign_stops
from plc.client.token import Token
from plc.client.values import PLC, Directory
from trust.certificates import Authority, new_private_key
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LARRY, OTHER = Identity.user("llp@cs.princeton.edu"), Identity.user("bnc@intel-research.net")


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    made = new_private_key(Role.USER)
    assert isinstance(made, rsa.RSAPrivateKey)
    return made


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create(NOW)


class TestTokens:
    @given(
        st.sampled_from([Role.AGENT, Role.NODE, Role.SVM]),
        st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", fullmatch=True),
    )
    def test_what_is_written_is_read(self, role: Role, name: str) -> None:
        token = Token(Identity(role, name), "a2" * 13, "0f" * 32)
        assert Token.parse(f" {token}\n") == token
        assert token.secret not in repr(token)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "dslice",
            f"dslice-node-n1-{'a' * 25}-{'0' * 64}",
            f"dslice-node-n1-{'a' * 26}-{'0' * 63}",
            f"dslice-king-n1-{'a' * 26}-{'0' * 64}",
            f"dslice-node-N1-{'a' * 26}-{'0' * 64}",
            f"dslice-node--{'a' * 26}-{'0' * 64}",
            f"dslice-node-n1-{'a' * 26}-{'0' * 64} x",
        ],
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(Refusal) as caught:
            Token.parse(text)
        assert caught.value.code is Code.BAD_INPUT
        assert "aaaa" not in caught.value.reason  # a secret that was mistyped stays one


class TestProofs:
    def test_a_proof_is_for_its_maker_its_key_and_plc(self, key: rsa.RSAPrivateKey) -> None:
        check_proof(sign_proof(LARRY, key, NOW), LARRY, key.public_key(), NOW + timedelta(minutes=59))
        assert len(key_sha256(key.public_key())) == 64

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"iss": OTHER.uri}, "somebody else"),
            ({"aud": Identity(Role.SVM, "lab").uri}, "somebody else"),
            ({"iat": int(NOW.timestamp()) - 3601}, "too old"),
            ({"iat": int(NOW.timestamp()) + 3601}, "from the future"),
            ({"iat": "now"}, "too old"),
            ({"iat": True}, "too old"),
        ],
    )
    def test_claims_that_do_not_fit(self, key: rsa.RSAPrivateKey, change: dict[str, object], words: str) -> None:
        claims = {"iss": LARRY.uri, "aud": PLC.uri, "iat": int(NOW.timestamp()), **change}
        header = {"alg": "PS256", "typ": PROOF.typ}
        forged = serialize_compact(header, json.dumps(claims), RSAKey.import_key(key), algorithms=["PS256"])
        with pytest.raises(Refusal, match=words):
            check_proof(forged, LARRY, key.public_key(), NOW)

    @pytest.mark.parametrize(
        ("header", "payload"),
        [
            ({"alg": "RS256", "typ": PROOF.typ}, "{}"),
            ({"alg": "PS256", "typ": "dslice-delegation+jwt"}, "{}"),
            ({"alg": "PS256", "typ": PROOF.typ, "kid": "x"}, "{}"),
            ({"alg": "PS256", "typ": PROOF.typ}, "[]"),
            ({"alg": "PS256", "typ": PROOF.typ}, "nonsense"),
        ],
    )
    def test_another_kind_of_document(self, key: rsa.RSAPrivateKey, header: dict[str, str], payload: str) -> None:
        signed = serialize_compact(header, payload, RSAKey.import_key(key), algorithms=["PS256", "RS256"])
        with pytest.raises(Refusal, match="not signed with the key"):
            check_proof(signed, LARRY, key.public_key(), NOW)

    def test_another_key(self, key: rsa.RSAPrivateKey) -> None:
        other = new_private_key(Role.USER)
        assert isinstance(other, rsa.RSAPrivateKey)
        for token in (sign_proof(LARRY, other, NOW), "a.b.c", ""):
            with pytest.raises(Refusal, match="not signed with the key"):
                check_proof(token, LARRY, key.public_key(), NOW)


class TestStops:
    def test_what_the_ca_signed(self, authority: Authority) -> None:
        stops = read_stops(sign_stops([LARRY, OTHER], authority.key, NOW), authority.certificate.public_key())
        assert stops == {LARRY, OTHER}

    def test_what_somebody_else_signed(self, authority: Authority, key: rsa.RSAPrivateKey) -> None:
        genuine = sign_stops([LARRY], authority.key, NOW)
        stranger = Authority.create(NOW)
        wrong = [
            (sign_stops([LARRY], stranger.key, NOW), authority.certificate.public_key()),
            (genuine, key.public_key()),
            (genuine, None),
            (genuine[:-4] + "AAAA", authority.certificate.public_key()),
            ("nonsense", authority.certificate.public_key()),
        ]
        for token, public_key in wrong:
            with pytest.raises(Refusal) as caught:
                read_stops(token, public_key)
            assert caught.value.code is Code.NOT_AUTHENTICATED

    @pytest.mark.parametrize("claims", [{}, {"iat": 1}, {"iat": 1, "owners": ["x"]}])
    def test_what_says_nothing(self, authority: Authority, claims: dict[str, object]) -> None:
        header = {"alg": "ES256", "typ": STOPS.typ}
        signed = serialize_compact(header, json.dumps(claims), ECKey.import_key(authority.key), algorithms=["ES256"])
        with pytest.raises(Refusal):
            read_stops(signed, authority.certificate.public_key())


@pytest.mark.parametrize(
    "body", [None, [], {}, {"plc": "x"}, {"plc": PLC.uri, "ca_fingerprint": "x", "agents": [{"name": "a"}]}]
)
def test_answers_that_make_no_sense(body: object) -> None:
    with pytest.raises(Refusal) as caught:
        _parse(body, Directory.from_json)
    assert caught.value.code is Code.INTERNAL


def test_a_directory_without_an_svm() -> None:
    body: dict[str, object] = {"plc": PLC.uri, "ca_fingerprint": "x", "svmd": None, "svm": None, "agents": []}
    assert _parse(body, Directory.from_json) == Directory(PLC, "x", None, None, ())
