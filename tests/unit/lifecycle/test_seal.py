"""Slice private keys at rest."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from lifecycle.seal import Seal
from trust.errors import Code, Refusal


def test_there_and_back(tmp_path: Path) -> None:
    slice_row = uuid4()
    sealed = Seal.from_file(tmp_path / "key").seal(slice_row, "a private key")
    assert b"private" not in sealed
    assert Seal.from_file(tmp_path / "key").open(slice_row, sealed) == "a private key"


def test_the_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    Seal.from_file(path)
    before = path.read_text()
    Seal.from_file(path)
    assert path.read_text() == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["key"]


def test_two_processes_make_one_key(tmp_path: Path) -> None:
    slice_row = uuid4()
    with ThreadPoolExecutor(8) as pool:
        seals = list(pool.map(Seal.from_file, [tmp_path / "key"] * 8))
    sealed = seals[0].seal(slice_row, "x")
    assert {seal.open(slice_row, sealed) for seal in seals} == {"x"}


def test_another_key_or_another_slice_opens_nothing(tmp_path: Path) -> None:
    slice_row = uuid4()
    seal = Seal.from_file(tmp_path / "key")
    sealed = seal.seal(slice_row, "x")
    for opener, row in ((Seal.from_file(tmp_path / "other"), slice_row), (seal, uuid4())):
        with pytest.raises(Refusal) as caught:
            opener.open(row, sealed)
        assert caught.value.code is Code.INTERNAL


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31, "ab" * 33])
def test_a_file_that_is_no_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(Refusal) as caught:
        Seal.from_file(tmp_path / "key")
    assert caught.value.code is Code.BAD_INPUT
