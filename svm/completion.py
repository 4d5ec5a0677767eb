"""What a shell is told, so that it completes our commands: click's own scripts, which ask the command itself."""

import click


def scripts(shell: str, *programs: str) -> str:
    """The scripts of bash, zsh or fish for these programs. Raises UsageError for another shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    any_command = click.get_current_context().command  # a script names no verb: it asks
    made = (found(any_command, {}, name, f"_{name.upper()}_COMPLETE").source() for name in programs)
    return "\n".join(made)
