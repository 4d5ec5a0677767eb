"""Sealed files of a backup: what comes out is what went in, or nothing."""

import io

import pytest

from admin.lab import sealed
from admin.lab.sealed import MAGIC, PIECE, SALT, SealedWriter, unsealed
from trust.errors import Code, Refusal

WORD = "correct horse"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "COST", 2)


def seal(data: bytes, step: int = 700_000) -> bytes:
    target = io.BytesIO()
    writer = SealedWriter(target, WORD)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
    writer.close()
    return target.getvalue()


def opened(data: bytes, word: str = WORD) -> bytes:
    return b"".join(unsealed(io.BytesIO(data), word))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_it_comes_back(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert opened(seal(data[:size])) == data[:size]
    assert opened(seal(data[:size], step=PIECE)) == data[:size]


def test_the_same_is_never_sealed_the_same() -> None:
    assert seal(b"x") != seal(b"x")


def refused(data: bytes, code: Code = Code.NOT_ALLOWED, word: str = WORD) -> None:
    with pytest.raises(Refusal) as caught:
        opened(data, word)
    assert caught.value.code is code


def test_another_passphrase_or_a_changed_file() -> None:
    data = seal(b"x" * (2 * PIECE + 5))
    head, piece = len(MAGIC) + SALT, PIECE + 16 + 4
    refused(data, word="wrong")
    refused(data[:-1])
    refused(data[: head + piece])  # the last pieces are gone
    refused(data[:head] + data[head + piece :])  # the first is gone
    refused(data[:head] + data[head + piece : head + 2 * piece] + data[head : head + piece] + data[head + 2 * piece :])
    refused(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    refused(b"a tar file", Code.BAD_INPUT)
