"""Every program's own words on streams that take them badly."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "svm": "from svm.main import main",
    "plkeygen": "from svm.plkeygen import main",
    "pluserinfo": "from svm.pluserinfo import main",
    "dslice": "from admin.main import main",
}
NO_SPACE = os.strerror(errno.ENOSPC)


def argv(program: str, *words: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; {PROGRAMS[program]}; sys.argv[0] = '{program}'; main()", *words]


def ran(begun: list[str], **how: object) -> "subprocess.CompletedProcess[bytes]":
    done: subprocess.CompletedProcess[bytes] = subprocess.run(begun, **{"timeout": 60, **how})  # type: ignore[call-overload]
    return done


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_device(program: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = ran(argv(program, "--help"), stdout=full, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr.decode()) == (1, f"{program}: cannot write the output: {NO_SPACE}\n")
        assert ran(argv(program, "--nonsense"), stdout=full, stderr=full).returncode == 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_streams_at_all(program: str) -> None:
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    assert ran([*closed, *argv(program, "--help")]).returncode == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_reader_that_has_gone(program: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = ran(argv(program, "--help"), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16", "cp437"])
def test_letters_that_an_encoding_lacks(encoding: str) -> None:
    said = 'import click; begin("x", lambda: click.echo("a→b · ü … \\udcff \\U0001f600") or 0)'
    env = os.environ | {"PYTHONIOENCODING": encoding}
    done = ran([sys.executable, "-c", f"from svm.streams import begin; {said}"], stdout=subprocess.PIPE, env=env)
    assert done.returncode == 0
    if encoding == "latin-1":
        assert done.stdout.decode(encoding) == "a->b · ü ... \\udcff \\U0001f600\n"


@pytest.mark.parametrize("waiting", ["", "threading.Thread(target=lambda: (time.sleep(0.3), print('b'))).start(); "])
def test_a_short_command_says_all_and_waits_for_its_threads(waiting: str) -> None:
    said = f"import sys, threading, time; {waiting}begin('x', lambda: print('a') or 3, short=True)"
    done = ran([sys.executable, "-c", f"from svm.streams import begin; {said}"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, b"a\nb\n" if waiting else b"a\n")
