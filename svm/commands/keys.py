"""addkey, delkey, nukekeys, rekey: who may log in to a slice, and its own key pair."""

import sys
from pathlib import Path

import click

from svm.arguments import SLICE
from svm.flags import current, flags
from svm.output import Retry, command
from svm.request import Request
from svm.retry import again, same_again
from svm.session import ask
from trust.errors import Code, Refusal


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("key", type=click.Path(), metavar="KEYFILE")
@flags
def addkey(name: str, key: str) -> int:
    """Let SSH public keys log in to a slice.

    KEYFILE holds a public key a line, as .pub and authorized_keys do; - is stdin.
    """
    return ask(Request("addkey", name, keys=read_keys(key)), _again("addkey", name, key))


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("key", type=click.Path(), metavar="KEYFILE")
@flags
def delkey(name: str, key: str) -> int:
    """Remove SSH public keys; their sessions end."""
    return ask(Request("delkey", name, keys=read_keys(key)), _again("delkey", name, key))


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def nukekeys(name: str) -> int:
    """Remove all SSH public keys from a slice."""
    given = current()
    return ask(Request("nukekeys", name), lambda failures: same_again(given, failures))


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def rekey(name: str) -> int:
    """Give a slice's VMs a new key pair for ssh among themselves.

    The old pair opens no door any more, and its sessions end. Your users' keys stay.
    """
    given = current()
    return ask(Request("rekey", name), lambda failures: same_again(given, failures))


def read_keys(path: str) -> tuple[str, ...]:
    """The public keys in the file, each as one clean line. Raises Refusal(BAD_INPUT)."""
    from trust.keyfiles import MAX_BYTES, parse_public_keys

    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise Refusal(Code.BAD_INPUT, f"{path}: cannot be read ({why}); give a .pub file") from None
    try:
        return tuple(key.line for key in parse_public_keys(data))
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{path}: {refusal.reason}") from None


def _again(verb: str, name: str, key: str) -> Retry:
    """The same command; a key that came through a pipe has to be given again."""
    given = current()
    if key == "-" or key.startswith(("/dev/fd/", "/proc/")):
        return lambda failures: again(command(*given.words(), verb, name, "KEYFILE"), failures, given)
    return lambda failures: same_again(given, failures)
