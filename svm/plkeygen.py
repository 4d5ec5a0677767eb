"""`plkeygen`: the key directory, the certificate request, the certificate (docs/howto.md, "A certificate")."""

import sys
from typing import IO, TYPE_CHECKING

import click

from svm.cli_errors import run
from svm.streams import begin
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from plc.client import CertificateRequest
    from svm.certification import Confirm, Keys


MODES = ("--refresh", "--renew", "--rotate", "--status")


class OneMode(click.Command):
    """click lets the last of several modes win, which is never what somebody meant who gave two."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [mode for mode in MODES if mode in args]
        if len(given) > 1:
            raise click.UsageError(f"{' and '.join(given)} are {len(given)} things to do; give one", ctx)
        return super().parse_args(ctx, args)


@click.command(cls=OneMode, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dslice", prog_name="plkeygen")
@click.option("--refresh", "mode", flag_value="refresh", help="Download the certificate once it is approved.")
@click.option(
    "--renew", "mode", flag_value="renew", help="A new certificate for the same key, before the old one ends."
)
@click.option("--rotate", "mode", flag_value="rotate", help="A new key and certificate; the old one is revoked.")
@click.option("--status", "mode", flag_value="status", help="Who you are, PI or not, and for how long.")
@click.option("--force", is_flag=True, help="Ask for a certificate with a new key although there is a valid one.")
@click.option("--email", metavar="EMAIL", help="Do not ask for it.")
@click.option("--password-file", type=click.File("r"), metavar="FILE", help="Read the password from it; '-' is stdin.")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def plkeygen(mode: str | None, force: bool, email: str | None, password_file: IO[str] | None, debug: bool) -> int:
    """Make your ~/.planetlab and ask PlanetLab's CA for a certificate.

    \b
    plkeygen             key pair and certificate request; asks for your
                         account's e-mail and password
    plkeygen --refresh   downloads the certificate once it is approved

    Where stdin is no terminal, e-mail and password are read from its first lines.
    """
    del debug
    from svm.certification import Keys
    from svm.home import Home
    from trust.clock import system_clock

    if force and mode:
        raise click.UsageError(f"--force asks for a new certificate and does not go with --{mode}")
    home = Home.find()
    home.check()
    keys = Keys(home, system_clock())
    if mode == "status":
        return _status(keys)
    if mode == "renew":
        return _renewed(keys.renew())
    if mode == "rotate":
        return _rotated(keys.rotate())
    if mode == "refresh":
        keys.trust(confirmation())
        return _refreshed(keys.refresh(email or _ask("email")))
    home.require_plc()
    keys.require_may_ask(force=force)
    keys.trust(confirmation())
    who = email or _ask("email")
    password = password_file.readline().rstrip("\r\n") if password_file else _ask("password", hidden=True)
    return _sent(keys.ask(who, password, force=force))


def main() -> None:
    """The console script."""
    begin("plkeygen", lambda: run(plkeygen, "plkeygen", sys.argv[1:]))


def _sent(request: "CertificateRequest") -> int:
    click.echo(f"Certificate request sent to {request.operator}.")
    click.echo("Do a 'plkeygen --refresh' once you receive a reply.")
    return 0


def _refreshed(found: "CertificateRequest | None") -> int:
    from plc.client import RequestState

    if found is not None and found.state is RequestState.PENDING:
        since = f"{found.requested_at:%Y-%m-%d %H:%M:%S} UTC"
        click.echo(f"Certificate request pending since {since}: {found.operator} has not decided yet.", err=True)
        return 1
    if found is not None and found.state is RequestState.DENIED:
        click.echo(f"Certificate request denied by {found.operator}: {found.reason}", err=True)
        return 1
    click.echo("Certificate downloaded.")
    return 0


def _renewed(certificate: "Certificate") -> int:
    click.echo(f"Certificate renewed until {certificate.not_valid_after_utc:%Y-%m-%d}.")
    return 0


def _rotated(certificate: "Certificate") -> int:
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    click.echo(f"New key and certificate until {until}; the old certificate is revoked.")
    return 0


def _status(keys: "Keys") -> int:
    from trust.identity import Role
    from trust.peers import verify_certificate

    credentials = keys.home.require_certificate()
    now = keys.clock.now()
    peer = verify_certificate(credentials.certificate, root=credentials.root, now=now, roles={Role.USER})
    days = (peer.not_after - now).days
    click.echo(f"You are {peer.identity.name}{', PI' if peer.pi else ', not a PI'}.")
    click.echo(f"Certificate valid until {peer.not_after:%Y-%m-%d %H:%M:%S} UTC, {days} days left.")
    if days < 30:
        click.echo("Renew it: plkeygen --renew", err=True)
    try:
        refused = keys.refusal()
    except Refusal as refusal:
        click.echo(f"Cannot tell whether plc accepts it: {refusal.reason}", err=True)
        return 0
    if refused:
        raise Refusal(Code.NOT_AUTHENTICATED, f"plc does not accept it: {refused}")
    return 0


def confirmation() -> "Confirm | None":
    """Somebody who can compare fingerprints, where there is a terminal."""
    return _confirm if sys.stdin.isatty() and sys.stderr.isatty() else None


def _confirm(fingerprint: str) -> str:
    groups = " ".join(fingerprint[at : at + 8] for at in range(0, len(fingerprint), 8))
    click.echo(f"plc's CA is not known here yet. The SHA-256 of its certificate is\n  {groups}", err=True)
    click.echo("Compare it with what the operator of plc tells you, not with what came with it.", err=True)
    return _ask("first 8 digits")


def _ask(what: str, *, hidden: bool = False) -> str:
    """From the terminal, or one line of stdin; the prompt is the howto's."""
    if sys.stdin.isatty():
        answer: str = click.prompt(what, hide_input=hidden, err=True, type=str)
        return answer
    line = sys.stdin.readline()
    if not line.strip():
        raise Refusal(Code.BAD_INPUT, f"no {what} on stdin: give one a line, e-mail first, or use --email")
    return line.rstrip("\r\n")


if __name__ == "__main__":
    main()
