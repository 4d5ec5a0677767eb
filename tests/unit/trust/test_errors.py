import copy
import pickle

from trust.errors import Code, Refusal


def test_a_refusal_carries_code_reason_and_detail() -> None:
    refusal = Refusal(Code.BUSY, "slice oceanstore is busy; wait for it", operation="1", code="x", reason="y")
    assert refusal.code is Code.BUSY
    assert str(refusal) == refusal.reason == "slice oceanstore is busy; wait for it"
    assert refusal.detail == {"operation": "1", "code": "x", "reason": "y"}


def test_a_reason_is_one_line() -> None:
    assert Refusal(Code.INTERNAL, "one\r\ntwo\n\n three").reason == "one two three"


def test_a_refusal_survives_copying_and_pickling() -> None:
    refusal = Refusal(Code.TOO_FEW_NODES, "only 3", available=3)
    for twin in (copy.copy(refusal), pickle.loads(pickle.dumps(refusal))):  # noqa: S301 - our own bytes
        assert (twin.code, twin.reason, twin.detail) == (refusal.code, refusal.reason, refusal.detail)


def test_codes_are_written_with_hyphens() -> None:
    assert {code.value for code in Code} == {code.name.lower().replace("_", "-") for code in Code}
