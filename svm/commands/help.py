"""help: what a verb does and takes."""

import click

from svm.output import line


@click.command()
@click.argument("verb", required=False)
@click.pass_context
def help(context: click.Context, verb: str | None) -> None:
    """Show what VERB does and takes; without it, all verbs."""
    parent = context.parent
    assert parent is not None  # noqa: S101 - a verb of svm
    if verb is None:
        line(parent.get_help())
        return
    group = parent.command
    assert isinstance(group, click.Group)  # noqa: S101 - svm
    _, found, _ = group.resolve_command(parent, [verb])
    if found is not None:
        with click.Context(found, parent=parent, info_name=found.name) as own:
            line(found.get_help(own))
