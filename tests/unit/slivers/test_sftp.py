"""The SFTP server's own protocol: whatever a client sends, it answers or ends, and never anything else."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodemgr.slivers.inside import sftp
from nodemgr.slivers.inside.sftp import ProtocolError, Server


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


HELLO = packet(sftp.INIT, struct.pack(">I", 3))


def talk(said: bytes) -> list[tuple[int, bytes]]:
    """The answers to a whole conversation; it fits into a pipe."""
    source, into = os.pipe()
    outof, target = os.pipe()
    try:
        os.write(into, said)
        os.close(into)
        try:
            Server(source, target).serve()
        finally:
            os.close(target)
        with os.fdopen(os.dup(outof), "rb") as file:
            rest = file.read()
    finally:
        os.close(source)
        os.close(outof)
    answers = []
    while rest:
        length = struct.unpack(">I", rest[:4])[0]
        answers.append((rest[4], rest[5 : 4 + length]))
        rest = rest[4 + length :]
    return answers


def status(answer: tuple[int, bytes]) -> int:
    assert answer[0] == sftp.STATUS
    return int(struct.unpack(">I", answer[1][4:8])[0])


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def request(kind: int, *fields: bytes, number: int = 7) -> bytes:
    return packet(kind, struct.pack(">I", number) + b"".join(fields))


def test_hello() -> None:
    [(kind, body)] = talk(HELLO)
    assert kind == sftp.VERSION
    assert body.startswith(struct.pack(">I", 3))
    assert b"posix-rename@openssh.com" in body


def test_a_file_there_and_back() -> None:
    flags, attributes = struct.pack(">I", 2 | 8), struct.pack(">II", 4, 0o100600)
    said = request(sftp.OPEN, string(b"f"), flags, attributes)
    said += request(sftp.WRITE, string(b"1"), struct.pack(">Q", 3), string(b"data"))
    said += request(sftp.CLOSE, string(b"1")) + request(sftp.STAT, string(b"f"))
    opened, written, closed, found = talk(HELLO + said)[1:]
    assert opened == (sftp.HANDLE, struct.pack(">I", 7) + string(b"1"))
    assert (status(written), status(closed)) == (0, 0)
    assert found[0] == sftp.ATTRS
    assert Path("f").read_bytes() == b"\0\0\0data"
    assert Path("f").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        (sftp.OPEN, (string(b"none"), struct.pack(">II", 1, 0)), sftp.NO_SUCH_FILE),
        (sftp.STAT, (string(b"a\0b"),), sftp.NO_SUCH_FILE),
        (sftp.READ, (string(b"99"), struct.pack(">QI", 0, 1)), sftp.FAILURE),
        (sftp.CLOSE, (string(b"99"),), sftp.FAILURE),
        (sftp.READDIR, (string(b"99"),), sftp.FAILURE),
        (sftp.RMDIR, (string(b"none"),), sftp.NO_SUCH_FILE),
        (99, (), sftp.OP_UNSUPPORTED),
        (sftp.EXTENDED, (string(b"no-such@thing"),), sftp.OP_UNSUPPORTED),
    ],
)
def test_refusals_are_answers(kind: int, fields: tuple[bytes, ...], code: int) -> None:
    assert status(talk(HELLO + request(kind, *fields))[1]) == code


def test_rename_does_not_overwrite_and_posix_rename_does() -> None:
    Path("a").write_text("a")
    Path("b").write_text("b")
    names = string(b"a") + string(b"b")
    assert status(talk(HELLO + request(sftp.RENAME, names))[1]) == sftp.FAILURE
    assert Path("b").read_text() == "b"
    posix = request(sftp.EXTENDED, string(b"posix-rename@openssh.com"), names)
    assert status(talk(HELLO + posix)[1]) == sftp.OK
    assert Path("b").read_text() == "a"


def test_room_on_the_disk_is_what_the_system_says() -> None:
    """Before, df on a mounted home showed 1000 G free."""
    Path("f").write_text("x")
    opened = request(sftp.OPEN, string(b"f"), struct.pack(">II", 1, 0))
    asked = request(sftp.EXTENDED, string(b"statvfs@openssh.com"), string(b"."))
    asked += request(sftp.EXTENDED, string(b"fstatvfs@openssh.com"), string(b"1"))
    hello, _, *answers = talk(HELLO + opened + asked)
    assert string(b"statvfs@openssh.com") + string(b"2") in hello[1]
    real = os.statvfs(".")
    for kind, body in answers:
        told = struct.unpack(">11Q", body[4:])
        assert kind == sftp.EXTENDED_REPLY
        assert (told[1], told[2], told[10]) == (real.f_frsize, real.f_blocks, real.f_namemax)


def test_a_links_own_times_are_set_and_its_targets_are_not() -> None:
    Path("f").write_text("x")
    os.symlink("f", "link")
    before = os.stat("f").st_mtime
    times, mode = struct.pack(">III", 8, 1000, 2000), struct.pack(">II", 4, 0o777)
    name = string(b"lsetstat@openssh.com") + string(b"link")
    done, refused = talk(HELLO + request(sftp.EXTENDED, name, times) + request(sftp.EXTENDED, name, mode))[1:]
    assert (status(done), status(refused)) == (sftp.OK, sftp.OP_UNSUPPORTED)
    assert (os.lstat("link").st_mtime, os.stat("f").st_mtime) == (2000, before)


@pytest.mark.parametrize(
    ("start", "length", "place", "copied"), [(0, 0, 0, "abcdef"), (2, 3, 1, "\0cde"), (9, 0, 0, "")]
)
def test_data_is_copied_from_file_to_file(start: int, length: int, place: int, copied: str) -> None:
    Path("from").write_text("abcdef")
    said = request(sftp.OPEN, string(b"from"), struct.pack(">II", 1, 0))
    said += request(sftp.OPEN, string(b"to"), struct.pack(">II", 2 | 8, 0))
    said += request(sftp.EXTENDED, string(b"copy-data"), string(b"1"), struct.pack(">QQ", start, length), string(b"2"),
                    struct.pack(">Q", place))  # fmt: skip
    itself = request(sftp.EXTENDED, string(b"copy-data"), string(b"1"), bytes(16), string(b"1"), bytes(8))
    *_, done, refused = talk(HELLO + said + itself)
    assert (status(done), status(refused)) == (sftp.OK, sftp.FAILURE)
    assert Path("to").read_text() == copied


def test_folders_do_not_overwrite_either() -> None:
    Path("a").mkdir()
    Path("b").write_text("b")
    assert status(talk(HELLO + request(sftp.RENAME, string(b"a"), string(b"b")))[1]) == sftp.FAILURE
    assert status(talk(HELLO + request(sftp.RENAME, string(b"a"), string(b"c")))[1]) == sftp.OK


def test_handles_are_bounded() -> None:
    said = request(sftp.OPENDIR, string(b".")) * (sftp.MAX_HANDLES + 1)
    assert status(talk(HELLO + said)[-1]) == sftp.FAILURE


def test_an_offset_beyond_the_file_system() -> None:
    Path("f").write_text("x")
    said = request(sftp.OPEN, string(b"f"), struct.pack(">II", 1, 0))
    said += request(sftp.READ, string(b"1"), struct.pack(">QI", 1 << 63, 1))
    assert status(talk(HELLO + said)[2]) == sftp.FAILURE
    size = struct.pack(">IQ", 1, (1 << 64) - 1)
    assert status(talk(HELLO + request(sftp.SETSTAT, string(b"f"), size))[1]) == sftp.FAILURE
    owner = struct.pack(">III", 2, (1 << 32) - 1, 1 << 31)
    assert talk(HELLO + request(sftp.SETSTAT, string(b"f"), owner))[1][0] == sftp.STATUS


@pytest.mark.parametrize("said", [b"\0\0\0\0", b"\xff\xff\xff\xff\1", b"\0\0\0\5\1\0", b"\0\0"])
def test_what_is_no_packet_ends_the_session(said: bytes) -> None:
    with pytest.raises(ProtocolError):
        talk(said)


def test_a_field_that_is_cut_off_ends_the_session() -> None:
    with pytest.raises(ProtocolError):
        talk(HELLO + request(sftp.OPEN, struct.pack(">I", 50) + b"short"))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([3, 4, 5, 7, 8, 9, 10, 11, 12, 16, 17, 19, 200, 255]),
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from([string(b"x"), string(b"1") + bytes(12), string(b".") + bytes(8)]),
            ),
        ),
        max_size=8,
    )
)
def test_any_conversation_is_answered_or_ended(conversation: list[tuple[int, bytes]]) -> None:
    said = b"".join(request(kind, body, number=n) for n, (kind, body) in enumerate(conversation))
    try:
        answers = talk(HELLO + said)
    except ProtocolError:
        return
    assert [struct.unpack(">I", body[:4])[0] for _kind, body in answers[1:]] == list(range(len(conversation)))


def test_as_a_program_it_needs_nothing_but_python() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", sftp.__file__], input=HELLO, capture_output=True, timeout=60)
    assert done.stdout[4:9] == struct.pack(">BI", sftp.VERSION, 3)
    broken = subprocess.run(
        [sys.executable, "-I", "-S", sftp.__file__], input=b"junk!", capture_output=True, timeout=60
    )
    assert broken.returncode == 1
    assert broken.stderr.startswith(b"sftp: ")
    assert b"Traceback" not in broken.stderr


@pytest.mark.skipif(shutil.which("sftp") is None, reason="no OpenSSH client here")
def test_the_real_client_sees_the_disk_and_copies_there() -> None:
    Path("from").write_text("abcdef")
    server = f"{sys.executable} -I -S {sftp.__file__}"
    script = f"df {os.getcwd()}\ncopy from to\nls -l to\n".encode()
    done = subprocess.run(["sftp", "-b", "-", "-D", server], input=script, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert str(os.statvfs(".").f_blocks * os.statvfs(".").f_frsize // 1024).encode() in done.stdout
    assert Path("to").read_text() == "abcdef"
