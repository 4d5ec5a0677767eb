"""addkey, delkey, nukekeys, rekey: who may log in to a slice, and its own key pair."""

import click

from svm.arguments import SLICE
from svm.flags import current, flags
from svm.keyfiles import read_keys
from svm.output import Retry, command
from svm.request import Request
from svm.retry import again, same_again
from svm.session import ask


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


def _again(verb: str, name: str, key: str) -> Retry:
    """The same command; a key that came through a pipe has to be given again."""
    given = current()
    if key == "-" or key.startswith(("/dev/fd/", "/proc/")):
        return lambda failures: again(command(*given.words(), verb, name, "KEYFILE"), failures, given)
    return lambda failures: same_again(given, failures)
