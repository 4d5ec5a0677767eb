"""What a sliver sees, and the commands that are made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.bubblewrap import bwrap_command
from nodemgr.slivers.drivers.unshare import unshare_command
from nodemgr.slivers.inside.view import Bind, Entry, Folders, Symlink, Tmpfs, entries, home_of
from nodemgr.slivers.process import build, launch
from nodemgr.slivers.process.launch import staged

FOLDERS = Folders(
    home=Path("/n/s/home"), tmp=Path("/n/s/tmp"), var=Path("/n/s/var"), etc=Path("/n/s/etc"), ssh=Path("/n/.ssh")
)
WRITABLE = {"/home/ocean", "/tmp", "/var/tmp", "/var/cache", "/var/lib", "/var/log"}
IN_VAR = {FOLDERS.var / name for name in ("cache", "lib", "log")}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests look at words; whether the host has the programs does not matter."""
    monkeypatch.setattr(launch, "program", lambda name: f"/usr/bin/{name}")
    for module in ("bubblewrap", "unshare"):
        monkeypatch.setattr(f"nodemgr.slivers.drivers.{module}.program", lambda name: f"/usr/bin/{name}")


def test_only_home_tmp_and_what_is_in_var_can_be_written() -> None:
    binds = [entry for entry in entries("ocean", FOLDERS) if isinstance(entry, Bind)]
    assert {bind.target for bind in binds if bind.writable} == WRITABLE
    assert {bind.source for bind in binds if bind.writable} == {FOLDERS.home, FOLDERS.tmp, *IN_VAR}


def test_nothing_of_the_host_but_programs_and_trust_anchors() -> None:
    own = {FOLDERS.home, FOLDERS.tmp, FOLDERS.etc, FOLDERS.ssh, *IN_VAR}
    system = {str(e.source) for e in entries("ocean", FOLDERS) if isinstance(e, Bind) and e.source not in own}
    programs = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}
    anchors = {"/etc/alternatives", "/etc/ssl/certs", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/crypto-policies"}
    assert system <= programs | anchors


def test_the_etc_of_the_host_lies_over_the_slivers_own() -> None:
    targets = [entry.target for entry in entries("ocean", FOLDERS)]
    assert targets.index("/etc") < targets.index("/etc/ssh")


def test_an_interpreter_outside_usr_is_shown_where_asked() -> None:
    with_python = replace(FOLDERS, python=Path("/opt/py"))
    assert Bind(Path("/opt/py"), "/opt/python") in entries("ocean", with_python)


def test_bubblewrap_makes_every_namespace_but_the_networks_and_drops_every_right() -> None:
    words = bwrap_command("ocean-n1", entries("ocean", FOLDERS))
    assert {w for w in words if w.startswith("--unshare")} == {
        f"--unshare-{n}" for n in ("user", "pid", "ipc", "uts", "cgroup")
    }
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert words[words.index("--uid") + 1] == "0"
    assert "--die-with-parent" not in words
    assert words[words.index("/n/s/etc") - 1] == "--ro-bind"
    assert words[words.index("/n/s/home") - 1 : words.index("/n/s/home") + 2] == ["--bind", "/n/s/home", "/home/ocean"]


def test_bubblewrap_ends_with_root_and_dev_read_only() -> None:
    words = bwrap_command("ocean-n1", entries("ocean", FOLDERS))
    closed = [words[i + 1] for i, word in enumerate(words) if word == "--remount-ro"]
    assert closed == ["/dev", "/"]
    assert words.index("--remount-ro") > max(i for i, word in enumerate(words) if word in ("--bind", "--tmpfs"))


def test_tmpfs_are_bounded() -> None:
    words = bwrap_command("ocean-n1", entries("ocean", FOLDERS))
    for at in (i for i, word in enumerate(words) if word == "--tmpfs"):
        assert words[at - 2] == "--size"
        assert 0 < int(words[at - 1]) <= 64 << 20


def test_unshare_says_the_same_in_its_own_words() -> None:
    words = unshare_command("ocean-n1", entries("ocean", FOLDERS))
    view = words[words.index("ocean-n1") + 1 : words.index("--", words.index("ocean-n1"))]
    assert "ro /n/s/etc /etc" in " ".join(view)
    assert "rw /n/s/home /home/ocean" in " ".join(view)
    assert f"link {home_of('ocean')} /root" in " ".join(view)
    assert {"--user", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork"} <= set(words)
    assert "--net" not in words


def test_a_host_user_reaches_the_folders_through_a_stage_of_its_own() -> None:
    view = entries("ocean", FOLDERS)
    prefix, moved = staged(view, 1_879_048_200)
    sources = {str(e.source) for e in moved if isinstance(e, Bind)}
    assert not any(source.startswith("/n/") for source in sources)
    assert "--reuid=1879048200" in prefix
    assert "--bounding-set=-all" in prefix
    assert [e.target for e in moved] == [e.target for e in view]
    assert len({str(s) for s in sources if s.startswith("/mnt/")}) in (
        0,
        7,
    )  # home, tmp, three of var, etc, ssh


def test_a_plain_user_needs_no_stage() -> None:
    view = entries("ocean", FOLDERS)
    assert staged(view, None) == ([], view)


def test_the_stage_hides_no_source() -> None:
    folders = Folders(*(Path("/mnt/x", name) for name in ("home", "tmp", "var", "etc", "ssh")))
    prefix, moved = staged(entries("ocean", folders), 1_879_048_200)
    stage = prefix[prefix.index("sh") + 1]
    assert stage != "/mnt"
    assert any(isinstance(e, Bind) and str(e.source).startswith(f"{stage}/") for e in moved)


def test_every_kind_of_entry_has_words() -> None:
    view: list[Entry] = [Bind(Path("/a"), "/b"), Tmpfs("/t", 5, 0o700), Symlink("x", "/y")]
    words = " ".join(bwrap_command("h", view))
    assert "--ro-bind /a /b --perms 700 --size 5 --tmpfs /t --symlink x /y" in words
    assert "ro /a /b tmpfs /t 5 700 link x /y --" in " ".join(unshare_command("h", view))


def test_mount_points_with_blanks_are_read_as_they_are() -> None:
    assert build._plain(rb"/a\040b\134c/d") == "/a b\\c/d"
