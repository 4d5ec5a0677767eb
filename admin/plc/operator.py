"""Verbs of `dslice plc` that the operator has on plc's own machine."""

from collections.abc import Sequence
from typing import Any

import click

from admin.plc.context import Context, ask_password, json_option, new_password, row
from trust.errors import Code, Refusal


@click.command("add-account")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--site", required=True)
@click.option("--title", default="")
@click.option("--pi", is_flag=True, help="A principal investigator of the site.")
@click.option("--admin", is_flag=True, help="An admin of all sites.")
@click.pass_obj
def add_account(context: Context, email: str, name: str, site: str, title: str, pi: bool, admin: bool) -> None:
    """Add an account, enabled at once.

    Asks for its password.
    """
    from plc import accounts as ledger
    from plc.accounts import OPERATOR, Application

    with context.operator() as backend:
        hashed = backend.central.passwords.hash(new_password())
        wanted, now = Application(email, name, site, title, {}), backend.central.clock.now()
        with backend.central.begin() as connection:
            added = ledger.add(connection, OPERATOR, wanted, hashed, now, is_pi=pi, is_admin=admin)
    if not added:
        raise Refusal(Code.NAME_TAKEN, f"{email} has an account already")
    click.echo(f"Account {email} added.")


@click.command("make-admin")
@click.argument("email")
@click.option("--no", "take", is_flag=True, help="Take it away.")
@click.pass_obj
def make_admin(context: Context, email: str, take: bool) -> None:
    """Make somebody an admin of all sites.

    His next certificate says so: plkeygen --renew. Taking it away revokes those that do.
    """
    from plc.accounts import OPERATOR
    from plc.deactivation import set_admin

    with context.operator() as backend, backend.central.begin() as connection:
        set_admin(connection, OPERATOR, email, not take, backend.central.clock.now())
    click.echo(f"{email} is {'no' if take else 'an'} admin.")


@click.command()
@click.argument("email")
@click.pass_obj
def passwd(context: Context, email: str) -> None:
    """Set a new password, which is asked for.

    For somebody who forgot it; with --as-me, your own.
    """
    from admin.plc.backend import member
    from plc.accounts import OPERATOR, set_password

    if context.as_me:
        with member() as me:
            me.plc.set_password(email, ask_password("old password"), new_password())
    else:
        with context.operator() as backend:
            hashed = backend.central.passwords.hash(new_password())
            with backend.central.begin() as connection:
                set_password(connection, OPERATOR, email, hashed, backend.central.clock.now())
    click.echo(f"Password of {email} changed.")


@click.command()
@click.argument("role", type=click.Choice(["agent", "node", "svm"]))
@click.argument("name")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@click.pass_obj
def token(context: Context, role: str, name: str, addresses: Sequence[str]) -> None:
    """Print an enrolment token for a service.

    At these addresses; good once, for an hour.
    """
    from plc.accounts import OPERATOR
    from plc.enrolment import Enrolment, make_tokens
    from trust.identity import Identity, Role

    with context.operator() as backend, backend.central.begin() as connection:
        place = Enrolment(Identity(Role(role), name), tuple(addresses))
        click.echo(
            make_tokens(connection, backend.central.authority, OPERATOR, [place], backend.central.clock.now())[0]
        )


@click.command()
@json_option
@click.pass_obj
def services(context: Context, as_json: bool) -> None:
    """List the enrolled services."""
    from plc.enrolment import services as enrolled

    with context.operator() as backend, backend.central.begin() as connection:
        for one in enrolled(connection):
            fields = {"role": one.role, "name": one.name, "addresses": one.addresses, "url": one.url}
            row(fields, f"{one.role}/{one.name}  {', '.join(one.addresses)}  {one.url or ''}".rstrip(), as_json)


@click.command()
@click.argument("whom")
@click.option("--reason", required=True)
@click.pass_obj
def revoke(context: Context, whom: str, reason: str) -> None:
    """Revoke every certificate of WHOM.

    An e-mail, or ROLE/NAME of a service, which then needs a new token.
    """
    from plc.accounts import OPERATOR
    from plc.deactivation import revoke_all

    with context.operator() as backend, backend.central.begin() as connection:
        count = revoke_all(connection, OPERATOR, _identity(whom), reason, backend.central.clock.now())
    click.echo(f"{count} certificate{'' if count == 1 else 's'} of {whom} revoked.")


@click.command()
@click.argument("whom")
@click.pass_obj
def history(context: Context, whom: str) -> None:
    """Show who did what to WHOM.

    An e-mail, or ROLE/NAME of a service.
    """
    from plc.journal import about

    identity = _identity(whom)
    with context.operator() as backend, backend.central.begin() as connection:
        for one in about(connection, identity.name if "@" in whom else identity.uri):
            click.echo(f"{one.at:%Y-%m-%d %H:%M:%S} UTC  {one.who}  {one.what}  {one.detail}".rstrip())


@click.command()
@click.option("--pem", is_flag=True, help="The certificate itself.")
@click.pass_obj
def ca(context: Context, pem: bool) -> None:
    """Print the SHA-256 of the CA's certificate.

    What users compare before they trust plc.
    """
    from trust.certificates import certificate_to_pem, fingerprint

    with context.operator() as backend:
        root = backend.central.authority.certificate
    click.echo(certificate_to_pem(root) if pem else fingerprint(root), nl=not pem)


def _identity(whom: str) -> Any:
    from trust.identity import PREFIX, Identity

    return Identity.user(whom) if "@" in whom else Identity.parse(f"{PREFIX}{whom}")


COMMANDS = (add_account, make_admin, passwd, token, services, revoke, history, ca)
