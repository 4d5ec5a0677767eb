"""config show and completion: the program itself."""

import os

import click

from svm.flags import current, flags
from svm.output import json_line, line


@click.group()
def config() -> None:
    """What svm is set to."""


@config.command()
@flags
def show() -> None:
    """Show each setting with where it comes from."""
    from svm.settings import settings

    for setting in settings(os.environ):
        if current().json:
            json_line("row", {"name": setting.name, "value": setting.value, "source": setting.source})
        else:
            line(f"{setting.name:<12} {setting.value or '-'}  ({setting.source})")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script, for plkeygen and pluserinfo too.

    To use it: eval "$(svm completion bash)"
    """
    from svm.completion import scripts

    line(scripts(shell, "svm", "plkeygen", "pluserinfo"))
