"""A line of `svm ssh`, read as ssh(1) reads its own; a line of `svm cp`."""

import click
import pytest

from svm.commands.copying import Copy, parse
from svm.commands.login import split
from svm.openssh import identities
from trust.errors import Refusal


@pytest.mark.parametrize(
    ("line", "options", "command"),
    [
        ("alpha n1", [], []),
        ("alpha n1 ls -l", [], ["ls", "-l"]),
        ("alpha n1 -t top", ["-t"], ["top"]),
        ("-t alpha n1 top -b", ["-t"], ["top", "-b"]),
        ("-A -L 8080:localhost:80 alpha n1", ["-A", "-L", "8080:localhost:80"], []),
        ("-L8080:localhost:80 alpha n1", ["-L", "8080:localhost:80"], []),
        ("alpha -D 1080 n1 -Nv", ["-D", "1080", "-Nv"], []),
        ("-vi key alpha n1 true", ["-vi", "key"], ["true"]),
        ("-o SetEnv=A=1 alpha n1 -- -t", ["-o", "SetEnv=A=1"], ["-t"]),
        ("-- alpha n1 -- ls -- x", [], ["ls", "--", "x"]),
    ],
)
def test_options_stand_before_the_slice_or_before_the_command(
    line: str, options: list[str], command: list[str]
) -> None:
    assert split(line.split()) == (options, "alpha", "n1", command)


@pytest.mark.parametrize("line", ["", "alpha", "-t alpha", "-L", "alpha n1 -L"])
def test_a_line_with_something_missing(line: str) -> None:
    with pytest.raises(click.UsageError):
        split(line.split())


@pytest.mark.parametrize("option", ["-F x", "-l root", "-p 22", "-tp22"])
def test_what_the_slice_decides_is_not_for_the_user(option: str) -> None:
    with pytest.raises(Refusal, match="leave it out"):
        split([*option.split(), "alpha", "n1"])


def test_a_named_key_is_the_only_one() -> None:
    assert identities(["-t", "-i", "one"]) == ["-o", "IdentitiesOnly=yes", "-i", "one"]
    assert identities(["-t"]) == []


@pytest.mark.parametrize(
    ("line", "copy"),
    [
        ("a b alpha:", Copy("alpha", ("a", "b"), "", to_nodes=True)),
        ("./a:b alpha:/tmp/", Copy("alpha", ("./a:b",), "/tmp/", to_nodes=True)),
        ("alpha:x alpha:y here", Copy("alpha", ("x", "y"), "here", to_nodes=False)),
    ],
)
def test_what_is_copied_where(line: str, copy: Copy) -> None:
    assert parse(line.split()) == copy


@pytest.mark.parametrize("line", ["a", "a b", "alpha:", "a alpha:x here", "alpha:x beta:y here", "alpha:x alpha:y"])
def test_one_side_is_one_slices(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())
