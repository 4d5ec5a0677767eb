"""`svm`: create, manage and delete slices from the command line (docs/howto.md; docs/protocol.md, "The command line").

Flags stand before the verb. Verbs are loaded when they are used; nothing heavier than click is at start.
"""

import importlib
import sys

import click
from click.exceptions import NoArgsIsHelpError

from lifecycle.verbs import USER_VERBS
from models.states import Verb
from svm.exit_codes import INTERRUPTED, USAGE, status_of_refusal
from svm.flags import Flags, group_flags
from svm.output import colourful, refused
from svm.overview import grouped, meant, overview
from svm.streams import OutputError, begin
from trust.errors import Code, Refusal

# Verb → module in svm/commands, in the order of `svm --help`: what asks for an operation is in the table of verbs.
_BEFORE = {Verb.CREATESLICE: {"getads": "ads"}, Verb.CLEAN: {"nodelist": "nodes", "expirations": "leases"}}
_AFTER = {
    "slices": "slices",
    "status": "nodes",
    "watch": "operations",
    "history": "operations",
    "hook": "hooks",
    "usage": "usage",
    "cancel": "operations",
    "ssh": "login",
    "ssh-config": "login",
    "run": "running",
    "cp": "copying",
    "plan": "declared",
    "apply": "declared",
    "inventory": "inventory",
    "targets": "inventory",
    "mcp": "mcp",
    "web": "web",
    "doctor": "doctor",
    "config": "settings",
    "completion": "settings",
    "help": "help",
}
VERBS: dict[str, str] = {}
for _verb, _row in USER_VERBS.items():
    VERBS |= _BEFORE.get(_verb, {}) | {str(_verb): _row.command}
VERBS |= _AFTER


class Verbs(click.Group):
    """Loads a verb's module when the verb is used; takes nouns in singular or plural (`addkeys`, `expiration`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        for name in (cmd_name, f"{cmd_name}s", cmd_name.removesuffix("s")):
            if name in VERBS:
                module = importlib.import_module(f"svm.commands.{VERBS[name]}")
                found: click.Command = getattr(module, name.replace("-", "_"))
                return found
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By group, as `svm.overview` has them."""
        limit = formatter.width - 6 - max(map(len, VERBS))
        for title, names in grouped(list(VERBS)):
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, verb.get_short_help_str(limit)) for name, verb in found if verb])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=VERBS, ctx=ctx) from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dslice", prog_name="svm")
@group_flags
def svm() -> None:
    """Create, manage and delete slices: a small virtual machine on each of many nodes, under leases that expire.

    \b
    svm getads                          the nodes there are
    svm createslice oceanstore.xml      a slice as the file describes it
    svm addkey oceanstore KEY.pub       let the key's owner log in
    svm ssh oceanstore NODE             log in
    """


def main() -> None:
    """The console script."""
    begin("svm", lambda: run(sys.argv[1:]), short=True)


def run(argv: list[str]) -> int:
    """`svm` with these words; the exit status. Every error is one clear line on stderr."""
    flags = Flags(argv=tuple(argv))
    try:
        colours = None if colourful() else False
        status = svm.main(argv, prog_name="svm", standalone_mode=False, obj=flags, color=colours)
    except Refusal as refusal:
        return _refused(refusal, flags)
    except click.ClickException as error:
        return _usage(error, flags)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OutputError:
        raise
    except Exception as error:  # noqa: BLE001
        return _surprise(error, flags)
    return status if isinstance(status, int) else 0


def _refused(refusal: Refusal, flags: Flags) -> int:
    _trace(flags)
    status = status_of_refusal(refusal.code)
    refused(refusal, status, as_json=flags.json, verbose=flags.verbose)
    return status


def _trace(flags: Flags) -> None:
    """With --debug: where the error that is being handled comes from."""
    if flags.debug:
        import traceback

        traceback.print_exc()


def _usage(error: click.ClickException, flags: Flags) -> int:
    if isinstance(error, NoArgsIsHelpError):
        click.echo(overview(list(VERBS), click.HelpFormatter().width), err=True)
        return USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    advice = f"see: {context.command_path if context else 'svm'} --help"
    said = _no_verb(error) if isinstance(error, click.NoSuchCommand) else error.format_message().rstrip(".")
    joint = " " if said.endswith("?") else "; "
    refused(Refusal(Code.BAD_INPUT, f"{said}{joint}{advice}"), USAGE, as_json=flags.json)
    return USAGE


def _no_verb(error: click.NoSuchCommand) -> str:
    near = meant(error.command_name, list(VERBS))
    return f"no verb is called {error.command_name[:40]!a}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def _surprise(error: Exception, flags: Flags) -> int:
    _trace(flags)
    reason = f"internal error ({type(error).__name__}); try again, with --debug to see where it comes from"
    return _refused(Refusal(Code.INTERNAL, reason), Flags(json=flags.json))


if __name__ == "__main__":
    main()
