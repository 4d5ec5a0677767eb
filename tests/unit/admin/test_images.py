"""Images: all or nothing, below their folder whatever the source says, with one digest for one content."""

import bz2
import gzip
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.images import store as module
from admin.images.digest import digest_of
from admin.images.sources import entries, safe
from admin.images.store import Store
from admin.images.tree import Tree
from nodemgr.images import ABOUT, ROOT, kept
from tests.unit.admin.images import HELLO, Member, add, tar_of
from trust.errors import Code, Refusal


def seen(root: Path) -> dict[str, str]:
    """What is below a folder: modes, and links' targets."""
    found = {str(path.relative_to(root)): path for path in sorted(root.rglob("*"))}
    modes = {name: stat.filemode(path.lstat().st_mode) for name, path in found.items()}
    return {
        name: f"{modes[name]} {path.readlink()}" if path.is_symlink() else modes[name] for name, path in found.items()
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_becomes_an_image(store: Store, tmp_path: Path, mode: str) -> None:
    before = os.umask(0o077)
    try:
        added = add(store, tar_of(tmp_path / "hello.tar", HELLO, mode))
    finally:
        os.umask(before)
    root = store.folder / "hello" / ROOT
    assert seen(root) == {
        "bin": "drwxr-xr-x",
        "bin/hello": "-rwsr-xr-x",
        "bin/hi": "lrwxrwxrwx hello",
        "bin/same": "-rwsr-xr-x",
        "etc": "drwxr-xr-x",
        "etc/motd": "-rw-------",
        "etc/out": "lrwxrwxrwx /etc/passwd",
        "tmp": "drwxrwxrwt",
    }
    assert (root / "bin/same").stat().st_ino == (root / "bin/hello").stat().st_ino
    assert (root / "bin/hello").stat().st_mtime == 1_000_000
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert store.images() == [added.image]
    assert (added.image.files, added.image.size, added.left_out) == (9, 24, 0)


def test_the_same_content_has_the_same_digest_whatever_it_came_in(store: Store, tmp_path: Path) -> None:
    first = add(store, tar_of(tmp_path / "one.tar", HELLO)).image
    turned_round = [HELLO[0], *HELLO[2:6], *HELLO[:1:-1], HELLO[1]]
    turned = add(store, tar_of(tmp_path / "two.tar", turned_round, "w:gz"), "turned")
    folder = add(store, store.folder / "hello" / ROOT, "folder").image
    assert {first.digest, turned.image.digest, folder.digest} == {first.digest}
    assert (folder.files, folder.size) == (first.files, first.size)


@pytest.mark.parametrize(
    "changed",
    [
        {"./bin/hello": (b"#!/bin/sh\necho hallo\n", 0o4755)},
        {"./bin/hello": (b"#!/bin/sh\necho hello\n", 0o755)},
        {"./bin/hi": ("-> hullo", 0o777)},
        {"./tmp": ("folder", 0o777)},
        {"./etc/motd": ("-> hi\n", 0o777)},
    ],
)
def test_another_content_has_another_digest(
    store: Store, tmp_path: Path, changed: dict[str, tuple[bytes | str, int]]
) -> None:
    first = add(store, tar_of(tmp_path / "one.tar", HELLO)).image
    other = [(name, *changed.get(name, (what, mode))) for name, what, mode in HELLO]
    second = add(store, tar_of(tmp_path / "two.tar", other), "other")
    assert second.image.digest != first.digest


def test_names_and_contents_cannot_be_taken_for_one_another(tmp_path: Path) -> None:
    for name, (path, text) in {"a": ("ab", "c"), "b": ("a", "bc")}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / path).write_text(text)
    assert digest_of(tmp_path / "a").digest != digest_of(tmp_path / "b").digest


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given to others by root alone")
def test_ids_and_devices_are_kept_for_root(store: Store, tmp_path: Path) -> None:
    members = [*HELLO, ("./dev/null", "dev", 0o666)]
    added = add(store, tar_of(tmp_path / "hello.tar", members, uid=7, gid=70_000))
    root = store.folder / "hello" / ROOT
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (root / "bin").rglob("*")}
    assert owners == {(7, 70_000)}
    null = (root / "dev/null").stat()
    assert (stat.S_ISCHR(null.st_mode), os.major(null.st_rdev), os.minor(null.st_rdev)) == (True, 1, 3)
    assert stat.S_IMODE((root / "bin/hello").stat().st_mode) == 0o4755
    assert added.image.digest != add(store, tar_of(tmp_path / "root.tar", members), "root").image.digest


def test_who_is_not_root_gets_a_tree_of_its_own_and_no_devices(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "hello.tar", [*HELLO, ("./dev/null", "dev", 0o666)], uid=7)
    with opened(tmp_path / "root") as descriptor:
        tree = Tree(descriptor, first=None, devices=False)
        tree.write(entries(tar, tmp_path))
    assert tree.left_out == 1
    owners = {path.lstat().st_uid for path in (tmp_path / "root").rglob("*")}
    assert owners == {os.geteuid()}
    assert digest_of(tmp_path / "root", owner=os.geteuid()).files == 10


class opened:  # noqa: N801 - reads as what it is
    """A new folder's descriptor."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.descriptor = os.open(folder, os.O_RDONLY)

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


OUTSIDE: dict[str, Sequence[Member]] = {
    "an absolute path": [("/etc/shadow", b"x", 0o644)],
    "a path above": [("../outside", b"x", 0o644)],
    "a path above in its middle": [("a/../../outside", b"x", 0o644)],
    "through a link": [("etc", "-> {outside}", 0o777), ("etc/shadow", b"x", 0o644)],
    "a folder through a link": [("etc", "-> {outside}", 0o777), ("etc/shadow", "folder", 0o755)],
    "a folder in the place of a link": [("etc", "-> {outside}", 0o777), ("etc", "folder", 0o700)],
    "a second name of what is outside": [("mine", "== ../outside/secret", 0o644)],
    "a second name through a link": [("up", "-> {outside}", 0o777), ("mine", "== up/secret", 0o644)],
    "a second name of nothing": [("mine", "== yours", 0o644)],
    "below a file": [("a", b"x", 0o644), ("a/b", b"x", 0o644)],
    "a file in the place of a folder": [("a/b", b"x", 0o644), ("a", b"x", 0o644)],
    "a file as the root": [("./", b"x", 0o644)],
}


@pytest.mark.parametrize("which", OUTSIDE)
def test_nothing_is_written_outside(store: Store, tmp_path: Path, which: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "secret").write_text("secret")
    members = [
        (name, what.format(outside=outside) if isinstance(what, str) else what, mode)
        for name, what, mode in OUTSIDE[which]
    ]
    with pytest.raises(Refusal) as refusal:
        add(store, tar_of(tmp_path / "evil.tar", members))
    assert refusal.value.code is Code.BAD_INPUT
    assert seen(outside) == {"secret": "-rw-r--r--"}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert (outside / "secret").stat().st_nlink == 1
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


@given(st.text(st.sampled_from("ab./\0"), max_size=12))
def test_a_safe_path_stays_where_it_is_put(name: str) -> None:
    try:
        parts = safe(name)
    except Refusal:
        return
    assert not {"", ".", ".."} & set(parts)
    assert os.path.normpath(os.path.join("/x", name)) == os.path.normpath(os.path.join("/x", *parts))


def test_a_name_that_is_said_again_counts_the_last_time(store: Store, tmp_path: Path) -> None:
    members: list[Member] = [("a", "-> b", 0o777), ("a", b"first", 0o600), ("a", b"second", 0o640)]
    add(store, tar_of(tmp_path / "twice.tar", members))
    assert (store.folder / "hello" / ROOT / "a").read_bytes() == b"second"


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 511])
def test_what_is_no_tar(store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(Refusal, match="is no whole tar"):
        add(store, tmp_path / "x.tar")


def test_half_a_tar(store: Store, tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "x.tar", [("big", b"x" * 100_000, 0o644)]).read_bytes()
    small = tar_of(tmp_path / "y.tar", [("a", b"a", 0o644), ("b", b"b", 0o644)]).read_bytes()
    for half in (whole[:50_000], small[:1024], gzip.compress(whole)[:-20], bz2.compress(whole)[:-20]):
        (tmp_path / "x.tar").write_bytes(half)
        with pytest.raises(Refusal) as refusal:
            add(store, tmp_path / "x.tar")
        assert refusal.value.code is Code.BAD_INPUT
    assert store.images() == []


def test_a_folder_with_a_socket_a_pipe_and_closed_folders(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed/file").write_text("x")
    (source / "closed").chmod(0o500)
    os.mkfifo(source / "pipe")
    (source / "x").write_text("x")
    os.link(source / "x", source / "y")
    add(store, source)
    found = seen(store.folder / "hello" / ROOT)
    assert (found["closed"], found["pipe"][0]) == ("dr-x------", "p")
    assert sorted(found) == ["closed", "closed/file", "pipe", "x", "y"]
    store.remove("hello")
    assert store.images() == []


def test_a_folder_in_which_the_images_are(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    add(store, tmp_path)
    assert sorted(seen(store.folder / "hello" / ROOT)) == ["file", "images"]


def test_names(store: Store, tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "hello.tar", HELLO)
    add(store, tar)
    for name, code in {
        "hello": Code.NAME_TAKEN,
        "../x": Code.BAD_INPUT,
        ".x": Code.BAD_INPUT,
        "": Code.BAD_INPUT,
    }.items():
        with pytest.raises(Refusal) as refusal:
            add(store, tar, name)
        assert refusal.value.code is code
    with pytest.raises(Refusal) as refusal:
        store.remove("other")
    assert refusal.value.code is Code.NOT_FOUND


def test_a_folder_that_others_may_look_into(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir(mode=0o755)
    (tmp_path / "images").chmod(0o755)
    with pytest.raises(Refusal, match="chmod 700"):
        Store(tmp_path / "images")
    (tmp_path / "images").chmod(0o700)
    assert Store(tmp_path / "images").images() == []


@pytest.mark.parametrize("name", ["_write", "_sync"])
def test_what_cannot_be_finished_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_sync" if name == "_sync" else "digest_of", full)
    with pytest.raises(Refusal) as refusal:
        add(store, tar_of(tmp_path / "hello.tar", HELLO))
    assert refusal.value.code is Code.DISK_FULL
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


def test_what_a_killed_one_left_is_put_right(store: Store, tmp_path: Path) -> None:
    image = add(store, tar_of(tmp_path / "hello.tar", HELLO)).image
    (store.folder / "hello").rename(store.folder / ".aside-hello")  # killed while it looked who uses it
    (store.folder / ".unfinished-1/root/x").mkdir(parents=True)
    assert store.images() == []
    add(store, tmp_path / "hello.tar", "other")
    assert store.images() == [image, replace(store.images()[1], name="other")]
    assert not (store.folder / ".unfinished-1").exists()


def test_what_is_no_image_is_passed_over(store: Store, tmp_path: Path) -> None:
    add(store, tar_of(tmp_path / "hello.tar", HELLO))
    another = (store.folder / "hello" / ABOUT).read_text()
    for name, text in {"empty": "", "number": "1", "list": "[]", "other": another}.items():
        (store.folder / name).mkdir()
        (store.folder / name / ABOUT).write_text(text)
    (store.folder / "nothing").mkdir()
    assert [image.name for image in kept(store.folder)] == ["hello"]
    assert kept(tmp_path / "nowhere") == []


# At the nodes
