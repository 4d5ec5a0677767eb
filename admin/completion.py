"""`dslice completion`."""

import click

from svm.completion import scripts


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    To use it: eval "$(dslice completion bash)"
    """
    click.echo(scripts(shell, "dslice"))
