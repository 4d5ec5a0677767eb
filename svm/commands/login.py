"""ssh, ssh-config: into the slice with the user's own OpenSSH client, host keys pinned."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from svm.arguments import SLICE, complete_nodes
from svm.files import slice_folder
from svm.flags import current, flags
from svm.openssh import PERMISSION_DENIED, SSH_FAILED, identities, key_cure, no_ssh, ssh_command, unattended
from svm.output import json_line, say
from svm.session import connect
from trust.errors import Code, Refusal
from trust.names import check_slice_name

REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}
IDENTITY = click.option("-i", "identity", type=click.Path(), metavar="FILE", help="The private key to log in with.")

_PLACES = ("SLICE", "NODE")
# ssh(1): options with a value, and those that svm's configuration of the slice sets.
_WITH_VALUE = "BbcDEeIiJLmOoQRSWw"
_SET_BY_US = "Flp"


@click.command(context_settings=REST)
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="[OPTION]... SLICE NODE [CMD]...",
    shell_complete=complete_nodes,
)
def ssh(words: tuple[str, ...]) -> int:
    """Log in to a slice on NODE, or run CMD there.

    NODE is an IP address or a node's name. OPTION is any of ssh's own (-t -A -L -R -D -N -i ...), before SLICE or
    before CMD. The exit status is that of ssh.
    """
    options, name, node, command = split(words)
    config, target = _prepared(name, node)
    base = ssh_command(config)
    keys = identities(options)
    sys.stdout.flush()
    status = _become([*base, *keys, *options, "--", target, *command])
    if status == SSH_FAILED and _key_refused([*base, *keys], target):
        say(key_cure(name))
    return status


def split(words: Sequence[str]) -> tuple[list[str], str, str, Sequence[str]]:
    """The options, slice, node and command of a line as ssh(1) would read it, with two words for the host.

    Raises Refusal(BAD_INPUT), click.UsageError.
    """
    options: list[str] = []
    places: list[str] = []
    rest = list(words)
    while rest and (len(places) < len(_PLACES) or rest[0].startswith("-")):
        word = rest.pop(0)
        if word == "--":
            if len(places) == len(_PLACES):
                break
        elif word.startswith("-") and len(word) > 1:
            options += _option(word, rest)
        else:
            places.append(word)
    if len(places) < len(_PLACES):
        raise click.UsageError(f"Missing argument '{_PLACES[len(places)]}'")
    return options, check_slice_name(places[0]), places[1], rest


def _option(word: str, rest: list[str]) -> list[str]:
    """One word of options, and its value where that is the next one, which is taken from `rest`."""
    for at, letter in enumerate(word[1:], 1):
        if letter in _SET_BY_US:
            raise Refusal(Code.BAD_INPUT, f"svm ssh sets -{letter} itself, for the slice; leave it out")
        if letter in _WITH_VALUE:
            value = [word[at + 1 :]] if word[at + 1 :] else rest[:1]
            if not value:
                raise click.UsageError(f"Option '-{letter}' requires an argument")
            if not word[at + 1 :]:
                del rest[0]
            return [word[: at + 1], *value]
    return [word]


def _become(argv: Sequence[str]) -> int:
    """Run ssh as if it stood here: what is typed, Ctrl-C too, is for ssh. Its exit status, 128 + N after signal N."""
    import signal
    import subprocess

    # A handler of ours, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        status = subprocess.call(argv)
    except FileNotFoundError:
        raise no_ssh() from None
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


def _key_refused(base: Sequence[str], target: str) -> bool:
    """Whether a login fails for want of a key: ssh's own status for it is also that of everything else."""
    import subprocess

    asked = [*base, *unattended(current().connect_timeout), "--", target, "true"]
    ended = subprocess.run(
        asked, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    return ended.returncode == SSH_FAILED and PERMISSION_DENIED in ended.stderr


@click.command(name="ssh-config")
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def ssh_config(name: str) -> None:
    """Print ssh_config entries for a slice's nodes.

    For ssh -F FILE, or for an Include in ~/.ssh/config.
    """
    from svm.sshconfig import hosts, write

    svmd = connect()
    found = hosts(svmd.slice(name))
    config = write(svmd.home.directory, name, found)
    if current().json:
        for host in found:
            json_line("row", {"slice": name, "ssh_config": str(config), **asdict(host)})
        return
    click.echo(config.read_text(encoding="utf-8"), nl=False)
    if sys.stderr.isatty():
        say(f'To have these always, in ~/.ssh/config:\nInclude "{config}"')


def _prepared(name: str, node: str) -> tuple[Path, str]:
    """The ssh_config and the host in it. Without svmd, what it last said still lets people log in."""
    from svm.sshconfig import CONFIG, find, hosts, write

    kept = slice_folder(connect_home(), name) / CONFIG
    try:
        svmd = connect()
        details = svmd.slice(name)
        found = hosts(details)
    except Refusal as refusal:
        if refusal.code not in (Code.UNREACHABLE, Code.TIMEOUT) or not _lists(kept, node):
            raise
        say(f"svm: {refusal.reason}\nsvm: using what svmd said last")
        return kept, node
    host = find(details, name, node)
    return write(svmd.home.directory, name, found), host.node


def connect_home() -> Path:
    """The key directory, absolute."""
    from svm.home import Home

    return Home.find().directory.absolute()


def _lists(config: Path, node: str) -> bool:
    with suppress(OSError):
        entries = config.read_text(encoding="utf-8").splitlines()
        return any(text.startswith("Host ") and node in text.split()[1:] for text in entries)
    return False
