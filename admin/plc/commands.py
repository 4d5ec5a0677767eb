"""`dslice plc …`: what PIs, admins and the operator of PlanetLab Central do; `dslice enroll`: how a service gets in.

Verbs act as the operator, on plc's own machine: through plc's functions on its database and CA, with plc's settings
(DSLICE_DATABASE_URL and DSLICE_STATE_DIR, or the home of a testbed, which knows them). With --as-me they act over the
network with the certificate in $PLANETLAB_HOME, so a PI or admin can use them anywhere; plc decides what they may.
"""

from pathlib import Path
from typing import IO

import click

from admin.plc.context import Context, Group, Refused, json_option, new_password, row
from admin.plc.operator import COMMANDS
from trust.errors import Refusal


@click.group(cls=Group)
@click.option(
    "--home",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A testbed's folder (default: plc's settings in the environment, else $DSLICE_HOME, else .dslice here).",
)
@click.option("--as-me", is_flag=True, help="Act over the network, with your own certificate.")
@click.pass_context
def plc(context: click.Context, folder: Path | None, as_me: bool) -> None:
    """Accounts, sites and certificates of plc.

    The operator's verbs, and those of PIs and users with --as-me.
    """
    context.obj = Context(folder, as_me)


@plc.command()
@json_option
@click.pass_obj
def requests(context: Context, as_json: bool) -> None:
    """List the certificate requests that wait.

    The oldest first.
    """
    with context.backend() as backend:
        found = backend.requests()
    for one in found:
        asked = f"{one.request.requested_at:%Y-%m-%d %H:%M} UTC"
        fields = {"email": one.email, "name": one.name, "site": one.site, "standing": one.account_role}
        fields |= {
            "requested_at": one.request.requested_at.isoformat(),
            "key_sha256": one.key_sha256,
            "id": one.request.id,
        }
        who = f"{one.email}  {one.name}, {one.site} ({one.account_role})"
        row(fields, f"{who}\n    asked {asked}, key {one.key_sha256[:16]}", as_json)
    if not found and not as_json:
        click.echo("No pending certificate requests.", err=True)


@plc.command()
@click.argument("which", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="All pending requests.")
@click.pass_obj
def approve(context: Context, which: tuple[str, ...], everyone: bool) -> None:
    """Issue certificates that were asked for.

    Named by e-mail, or by the request's id.
    """
    if bool(which) == everyone:
        raise click.UsageError("name e-mails, or say --all")
    failed = 0
    with context.backend() as backend:
        for one in [waiting.email for waiting in backend.requests()] if everyone else which:
            try:
                backend.decide(one, approve=True, reason="")
            except Refusal as refusal:
                if len(which) == 1:
                    raise
                click.echo(f"{one}: {refusal.reason}", err=True)
                failed += 1
            else:
                click.echo(f"Certificate issued to {one}.")
    if failed:
        raise SystemExit(1)


@plc.command()
@click.argument("which")
@click.option("--reason", required=True, help="It is shown to the user.")
@click.pass_obj
def deny(context: Context, which: str, reason: str) -> None:
    """Deny a certificate request."""
    with context.backend() as backend:
        backend.decide(which, approve=False, reason=reason)
    click.echo(f"Certificate denied to {which}.")


@plc.command()
@json_option
@click.pass_obj
def sites(context: Context, as_json: bool) -> None:
    """List the sites."""
    with context.backend() as backend:
        for name in backend.sites():
            row({"name": name}, name, as_json)


@plc.command("add-site")
@click.argument("name")
@click.pass_obj
def add_site(context: Context, name: str) -> None:
    """Add a site."""
    with context.backend() as backend:
        backend.add_site(name)
    click.echo(f"Site {name} added.")


@plc.command()
@click.option("--site", help="Of this site only.")
@json_option
@click.pass_obj
def accounts(context: Context, site: str | None, as_json: bool) -> None:
    """List the accounts.

    All of them for the operator and admins, those of the own site for a PI.
    """
    with context.backend() as backend:
        found = [user for user in backend.users() if site in (None, user.site)]
    for user in found:
        flags = "".join(f", {word}" for word, given in (("PI", user.is_pi), ("admin", user.is_admin)) if given)
        said = {"email": user.email, "name": user.name, "site": user.site, "account": user.account}
        fields = {**said, "is_pi": user.is_pi, "is_admin": user.is_admin, "ssh_keys": len(user.keys)}
        row(fields, f"{user.email}  {user.name}, {user.site} ({user.account}{flags})", as_json)


@plc.command("sign-up")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--site", required=True)
@click.option("--title", default="")
@click.option(
    "--contact", multiple=True, metavar="FIELD=TEXT", help="address, city, state, zip, country, phone or url."
)
def sign_up(email: str, name: str, site: str, title: str, contact: tuple[str, ...]) -> None:
    """Ask for an account; a PI enables it.

    Asks for the password that you want; over the network.
    """
    from plc.client import Plc
    from svm.certification import Keys
    from svm.home import Home
    from svm.plkeygen import confirmation
    from trust.clock import system_clock

    fields = dict(word.partition("=")[::2] for word in contact)
    home = Home.find()
    home.check()
    root = Keys(home, system_clock()).trust(confirmation())
    with Plc(home.require_plc(), ca_pem=root) as central:
        central.sign_up(email, new_password(), name, site, title=title, contact=fields)
    click.echo(f"Asked for an account at {site}: you get an e-mail once a PI has enabled it.")


@plc.command()
@click.argument("email")
@click.pass_obj
def enable(context: Context, email: str) -> None:
    """Enable an account.

    A PI those asked for at the own site, admins and the operator any.
    """
    with context.backend() as backend:
        backend.enable(email)
    click.echo(f"Account {email} enabled.")


@plc.command()
@click.argument("email")
@click.option("--reason", required=True, help="It is shown to the user.")
@click.option("--stop", is_flag=True, help="Also end the user's sessions and slivers now, on every node.")
@click.pass_obj
def disable(context: Context, email: str, reason: str, stop: bool) -> None:
    """Disable an account, revoke its certificates.

    New tickets and leases are refused within a minute.
    """
    with context.backend() as backend:
        held = backend.disable(email, reason, stop=stop)
    click.echo(f"Account {email} disabled.")
    if held:
        fate = "are being stopped" if stop else "run until their leases end (--stop ends them now)"
        click.echo(f"Slices of {email}: {', '.join(held)}; they {fate}.")


@plc.command("make-pi")
@click.argument("email")
@click.pass_obj
def make_pi(context: Context, email: str) -> None:
    """Make somebody a PI of their site."""
    with context.backend() as backend:
        backend.set_pi(email, True)
    click.echo(f"{email} is a PI.")


@plc.command("no-pi")
@click.argument("email")
@click.pass_obj
def no_pi(context: Context, email: str) -> None:
    """Take the PI flag away.

    Certificates that carry it are revoked.
    """
    with context.backend() as backend:
        backend.set_pi(email, False)
    click.echo(f"{email} is not a PI.")


@plc.command()
@click.argument("email")
@click.option("--add", type=click.File("rb"), metavar="FILE", help="Upload the SSH public keys in it.")
@click.option("--remove", metavar="FINGERPRINT", help="Remove this one (SHA256:…).")
@click.pass_obj
def sshkeys(context: Context, email: str, add: IO[bytes] | None, remove: str | None) -> None:
    """List, add and remove SSH public keys.

    Those of an account, as pluserinfo shows them.
    """
    from trust.keyfiles import MAX_BYTES, parse_public_keys
    from trust.sshkeys import parse_public_key

    new = parse_public_keys(add.read(MAX_BYTES + 1)) if add is not None else []
    with context.backend() as backend:
        for key in new:
            backend.add_key(email, key.line)
        if remove is not None:
            backend.remove_key(email, remove)
        found = backend.keys(email)
    for line in found:
        click.echo(f"{parse_public_key(line).fingerprint}  {line}")
    if not found:
        click.echo(f"{email} has no SSH key.", err=True)


@click.command()
@click.option("--token", help="From 'dslice plc token'; better in a file, where others do not see it.")
@click.option("--token-file", type=click.File("r"), help="Read it there; '-' is stdin.")
@click.option("--plc", "plc_url", required=True, envvar="DSLICE_PLC_URL", help="plc's address (DSLICE_PLC_URL).")
@click.option(
    "--dir",
    "directory",
    required=True,
    envvar="DSLICE_STATE_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The service's state folder (DSLICE_STATE_DIR).",
)
def enroll(token: str | None, token_file: IO[str] | None, plc_url: str, directory: Path) -> None:
    """Enrol a service with its token.

    Run on the service's own machine, it trades the token for a key and a certificate.
    """
    from plc.client.member import enrol
    from plc.client.token import Token
    from rpc.credentials import Credentials
    from trust.clock import system_clock

    if (token is None) == (token_file is None):
        raise click.UsageError("give the token with --token or --token-file")
    try:
        invitation = Token.parse(token or (token_file.readline() if token_file else ""))
        enrol(Credentials(directory), invitation.identity, plc_url, (), invitation, system_clock())
    except Refusal as refusal:
        raise Refused(refusal) from refusal
    click.echo(f"{invitation.identity} enrolled in {directory}.")


for command in COMMANDS:
    plc.add_command(command)
