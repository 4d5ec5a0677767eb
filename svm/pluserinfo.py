"""`pluserinfo`: look up a user's SSH public keys and details by e-mail (docs/howto.md, "Letting people in")."""

import sys
from typing import IO, TYPE_CHECKING

import click

from svm.cli_errors import run
from svm.streams import begin
from trust.errors import Code, Refusal, printable

if TYPE_CHECKING:
    from plc.client import Plc, User


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dslice", prog_name="pluserinfo")
@click.argument("email", required=False)
@click.option("--key", "only_key", is_flag=True, help="Only the SSH public keys, a line each, fit for svm addkey.")
@click.option("--add-key", type=click.File("rb"), metavar="FILE", help="Upload SSH public keys to your account.")
@click.option("--remove-key", metavar="FINGERPRINT", help="Remove one; ssh-keygen -l -f FILE prints SHA256:…")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def pluserinfo(
    email: str | None, only_key: bool, add_key: IO[bytes] | None, remove_key: str | None, debug: bool
) -> None:
    """Look up a user of PlanetLab; without EMAIL, yourself.

    \b
    pluserinfo --key llp@cs.princeton.edu > llp.pub
    svm addkey oceanstore llp.pub
    """
    del debug
    from plc.client import Plc
    from svm.home import Home
    from trust.keyfiles import MAX_BYTES

    home = Home.find()
    credentials = home.require_certificate()
    me = credentials.identity.name
    with Plc(home.require_plc(), credentials) as plc:
        if add_key is not None or remove_key is not None:
            _change(plc, me, email, add_key.read(MAX_BYTES + 1) if add_key else None, remove_key)
            return
        if only_key:
            _show_keys(plc, email or me)
            return
        _show(plc.user(email or me))


def main() -> None:
    """The console script."""
    begin("pluserinfo", lambda: run(pluserinfo, "pluserinfo", sys.argv[1:]))


def _show(user: "User") -> None:
    """The howto's fields in its order; flags as PostgreSQL prints them."""

    contact = user.contact or {}
    fields = {
        "EMAIL": user.email,
        "NAME": user.name,
        "SITE_NAME": user.site,
        "TITLE": user.title,
        "IS_ADM": _flag(user.is_admin),
        "IS_PI": _flag(user.is_pi),
        **{
            name.upper(): contact.get(name, "")
            for name in ("address", "city", "state", "zip", "country", "phone", "url")
        },
    }
    for name, value in fields.items():
        _line(name, value)
    for key in user.keys or ("",):
        _line("SSH_PUBKEY", key)
    if user.contact is None:
        click.echo("pluserinfo: contact fields are shown to the user, PIs of the same site and admins only", err=True)


def _show_keys(plc: "Plc", email: str) -> None:
    keys = plc.keys(email)
    if not keys:
        raise Refusal(Code.NOT_FOUND, f"{email} has no SSH key; they upload one with pluserinfo --add-key FILE")
    for key in keys:
        click.echo(printable(key, None))


def _change(plc: "Plc", me: str, email: str | None, add: bytes | None, remove: str | None) -> None:
    from trust.keyfiles import parse_public_keys

    if email is not None and email.lower() != me:
        raise Refusal(Code.NOT_ALLOWED, f"you are {me}: the SSH keys of {printable(email)} are theirs to change")
    if add is not None:
        for key in parse_public_keys(add):
            click.echo(f"Key added: {plc.add_key(me, key.line)}")
    if remove is not None:
        plc.remove_key(me, remove)
        click.echo(f"Key removed: {remove}")


def _line(name: str, value: str) -> None:
    click.echo(f"{name}: {printable(value, None)}".rstrip())


def _flag(value: bool) -> str:
    return "t" if value else "f"


if __name__ == "__main__":
    main()
