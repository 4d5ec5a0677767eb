"""What a slice is made of, from what users give."""

from pathlib import Path

import pytest

from dslice import Error, Slice, connect
from dslice.keys import identity_of, key_lines
from dslice.node import here, there
from svm.slicefile import SliceFile
from svm.wanted import wanted
from tests.unit.svm.answering import KEY
from trust.errors import Refusal


def test_a_number_or_addresses() -> None:
    assert wanted("demo", 3, 12) == SliceFile("demo", 3, 43_200)
    assert wanted("demo", ["10.0.0.2", "10.0.0.1"], 0.5) == SliceFile("demo", 2, 1800, ("10.0.0.2", "10.0.0.1"))


@pytest.mark.parametrize(
    ("name", "nodes", "hours", "said"),
    [
        ("Demo", 1, 1, "is not a slice name"),
        ("../..", None, 1, "is not a slice name"),
        ("demo", 0, 1, "nodes must be a whole number above 0"),
        ("demo", -1, 1, "nodes must be a whole number above 0"),
        ("demo", [], 1, "nodes must be a whole number above 0"),
        ("demo", ["n1"], 1, "is not an IP address"),
        ("demo", "10.0.0.1", 1, "nodes is a text; give a number, or a list of addresses"),
        ("demo", 1, 0, "the length of a lease in seconds must be a whole number above 0"),
        ("demo", 1, 24 * 14 + 1, "the most allowed is 1209600"),
    ],
)
def test_what_cannot_be(name: str, nodes: int | list[str] | None, hours: float, said: str, tmp_path: Path) -> None:
    with pytest.raises(Error, match=said) as caught:
        Slice(name, nodes=nodes, hours=hours, client=connect(tmp_path))
    assert caught.value.code == "bad-input"


def test_what_each_vm_has(tmp_path: Path) -> None:
    assert wanted("demo", 1, 1, {"memory": 512, "cpu": 200}).needs.to_json() == {"memory_mb": 512, "cpu": 200}
    with pytest.raises(Error, match="'memroy' is nothing that a VM has; known are memory, disk, processes, cpu, image"):
        Slice("demo", nodes=1, needs={"memroy": 512}, client=connect(tmp_path))


def test_keys_are_files_or_keys(tmp_path: Path) -> None:
    file = tmp_path / "alice.pub"
    file.write_text(f"{KEY}\n")
    assert key_lines(file) == key_lines(KEY) == key_lines([str(file), KEY]) == (KEY,)
    assert key_lines(()) == ()
    for wrong in (str(tmp_path / "nobody.pub"), "ssh-ed25519 nonsense", [tmp_path]):
        with pytest.raises(Refusal):
            key_lines(wrong)


def test_the_private_key_beside_the_public_one(tmp_path: Path) -> None:
    public = tmp_path / "id.pub"
    assert identity_of(public) is None
    (tmp_path / "id").touch()
    assert identity_of([KEY, public]) == str(tmp_path / "id")
    assert (
        Slice("demo", keys=(), identity=tmp_path / "other", client=connect(tmp_path))._identity == f"{tmp_path}/other"
    )


def test_leaving_keeps_what_was_there_before(tmp_path: Path) -> None:
    client = connect(tmp_path)
    assert Slice("demo", client=client).keep is True
    assert Slice("demo", nodes=1, client=client).keep is False
    assert Slice("demo", nodes=1, keep="on-error", client=client).keep == "on-error"


def test_files_here_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert here("a:b") == [f"{tmp_path}/a:b"]
    assert here(["~/x", Path("y")]) == ["/home/me/x", f"{tmp_path}/y"]
    assert there("10.0.0.1", ["~/x", "~", "/etc/hosts", ""]) == [
        f"10.0.0.1:{each}" for each in ("x", "", "/etc/hosts", "")
    ]
    assert there("fd00::1", "x") == ["[fd00::1]:x"]
