"""`dslice`: what operators type. Daemons, enrolment and plc are here; other packages, as the testbed, add their verbs.

Every verb is loaded when it is used, so that one whose dependencies are missing hinders no other.
"""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from svm.streams import begin
from trust.errors import Refusal

INTERRUPTED = 130  # exit status
VERBS = {
    "plc": "admin.plc.commands:plc",
    "enroll": "admin.plc.commands:enroll",
    "image": "admin.images.commands:image",
    "health": "admin.health:health",
    "completion": "admin.completion:completion",
    "nodes": "admin.lab.nodes:nodes",
    "node": "admin.lab.nodes:node",
    "slices": "admin.lab.slices:slices",
    "slice": "admin.lab.slices:one_slice",
    "evict": "admin.lab.slices:evict",
    "orphans": "admin.lab.orphans:orphans",
    "orphan": "admin.lab.orphans:orphan",
    "usage": "admin.lab.usage:usage",
    "web": "admin.web.command:web",
    "backup": "admin.lab.saving:backup",
    "restore": "admin.lab.saving:restore",
}
NODE, SERVER, TESTBED = "node", "server", "testbed"
EXTRAS = {
    **dict.fromkeys(VERBS, SERVER),
    "enroll": NODE,
    "image": NODE,
    "web": "server,web",
    "tokens": SERVER,
}  # which extra of the package a verb needs; TESTBED if not named
# The same for a role; SERVER for one that is not named.
ROLE_EXTRAS = {"nodemgr": NODE, "simnodes": TESTBED, "mail": TESTBED}


class Verbs(click.Group):
    """Verbs by name, loaded when asked for; errors are one line."""

    def __call__(self, *words: Any, **how: Any) -> NoReturn:
        """The console script."""
        begin("dslice", lambda: self.main(*words, **how))

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *VERBS, *dict(_registered())})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        place = VERBS.get(name) or dict(_registered()).get(name)  # to look at all that is installed takes a while
        if place is None:
            return super().get_command(context, name)
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Refusal as refusal:
            raise click.ClickException(refusal.reason) from refusal
        except ModuleNotFoundError as error:
            raise _missing(error, EXTRAS.get(context.invoked_subcommand or "", TESTBED)) from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            sys.exit(INTERRUPTED)


@click.group(cls=Verbs)
@click.version_option(package_name="dslice")
def main() -> None:
    """Run dslice: its daemons, plc's accounts and certificates, or a whole testbed on one machine."""


@main.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("role")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="As DSLICE_LOG_FORMAT (default json).")
def run_role(role: str, log_format: str | None) -> None:
    """Run one daemon in the foreground.

    ROLE is plc, agent, nodemgr, svmd, worker, beat or flower; and simnodes or mail of a testbed.
    """
    from admin.roles import mains, run
    from admin.variables import misspelt

    known = mains()
    if role not in known:
        raise click.BadParameter(f"{role} is none of {', '.join(known)}", param_hint="ROLE")
    if log_format:
        os.environ["DSLICE_LOG_FORMAT"] = log_format
    for line in misspelt(os.environ):
        click.echo(f"{role}: {line}", err=True)
    try:
        run(role)
    except ModuleNotFoundError as error:
        raise _missing(error, ROLE_EXTRAS.get(role, SERVER)) from error


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("places", nargs=-1, required=True, metavar="ROLE=NAME@ADDRESS...")
def tokens(folder: Path, places: tuple[str, ...]) -> None:
    """Write enrolment tokens of several services into FOLDER, beside plc and with its settings (the lab's start)."""
    from admin import tokens as files

    for path in files.write(folder, places):
        click.echo(path)


def _registered() -> Iterator[tuple[str, str]]:
    for point in entry_points(group="dslice.verbs"):
        yield point.name, point.value


def _missing(error: ModuleNotFoundError, extra: str) -> click.ClickException:
    package = (error.name or "").partition(".")[0]
    return click.ClickException(f"{package} is not installed here: pip install 'dslice[{extra}]'")
