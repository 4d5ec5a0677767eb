"""How `plkeygen` and `pluserinfo` end: every error one line on stderr, and svm's exit statuses."""

import traceback

import click

from svm.exit_codes import FAILED, INTERRUPTED, USAGE, status_of_refusal
from svm.streams import OutputError
from trust.errors import Refusal


def run(command: click.Command, name: str, argv: list[str]) -> int:
    """The command with these words; its exit status. `--debug` among them shows where an error comes from."""
    debug = "--debug" in argv
    try:
        status = command.main(argv, prog_name=name, standalone_mode=False)
    except Refusal as refusal:
        return _failed(name, refusal.reason, status_of_refusal(refusal.code), debug)
    except click.ClickException as error:
        return _failed(name, f"{error.format_message().rstrip('.')}; see: {name} --help", USAGE, debug)
    except click.Abort as abort:
        if abort.__cause__ is None:  # at a prompt, where the cursor still stands; else click has ended the line
            click.echo(err=True)
        return INTERRUPTED
    except OutputError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(name, f"{where}{error.strerror or error}", FAILED, debug)
    except Exception as error:  # noqa: BLE001 - a surprise is one line as well
        return _failed(name, f"internal error ({type(error).__name__}); --debug shows where", FAILED, debug)
    return status if isinstance(status, int) else 0


def _failed(name: str, reason: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"{name}: {reason}", err=True)
    return status
