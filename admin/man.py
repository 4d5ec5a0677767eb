"""Man pages of `svm`, `plkeygen`, `pluserinfo` and `dslice`, one for each of their verbs, from their own help.

`python -m admin.man` writes them beside the programs, where `man svm` finds them.
"""

import copy
import sys
from collections.abc import Iterable
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path

import click

from admin.pages import PAGES, Section

PREFORMATTED = "\b\n"  # how a paragraph that click must not fill begins


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[FOLDER]")
def main(folder: Path | None) -> None:
    """Write the man pages to FOLDER (default: share/man/man1 of this installation)."""
    found = folder or Path(sys.prefix) / "share/man/man1"
    count = write(found)
    click.echo(f"{count} man pages in {found}")


def write(folder: Path) -> int:
    """Write every page as `svm-createslice.1`; how many there are now."""
    from click_man.core import write_man_pages

    folder.mkdir(parents=True, exist_ok=True)
    for name, program in programs().items():
        write_man_pages(name, page_source(program), version=version("dslice"), target_dir=str(folder))
    pages = list(folder.glob("*.1"))
    for page in pages:
        text = page.read_text("utf-8") + "".join(map(section, *_columns(page.stem)))
        page.write_text("".join(map(_character, text)), "ascii")
    return len(pages)


def _columns(page: str) -> tuple[Iterable[str], Iterable[Section]]:
    """Titles of the page's further sections, and what they say."""
    found = PAGES.get(page, {})
    return found.keys(), found.values()


def section(title: str, said: Section) -> str:
    """One section as troff reads it."""
    if isinstance(said, str):
        return "\n".join([f".SH {title}", ".nf", *map(_line, said.splitlines()), ".fi", ""])
    terms = (f".TP\n\\fB{_line(term)}\\fP\n{_line(text)}\n" for term, text in said)
    return f".SH {title}\n{''.join(terms)}"


def programs() -> dict[str, click.Command]:
    """The console scripts by name."""
    from admin.main import main as dslice
    from svm.main import svm
    from svm.plkeygen import plkeygen
    from svm.pluserinfo import pluserinfo

    return {"svm": svm, "plkeygen": plkeygen, "pluserinfo": pluserinfo, "dslice": dslice}


def page_source(command: click.Command) -> click.Command:
    """A copy that click-man can read: verbs that load when used are loaded, texts are in man's language."""
    found = copy.copy(command)
    found.short_help = roff(command.get_short_help_str(limit=200))
    found.help = roff(command.help or "")
    if isinstance(found, click.Group):
        context = click.Context(command)
        verbs = {name: found.get_command(context, name) for name in found.list_commands(context)}
        found.commands = {name: page_source(verb) for name, verb in verbs.items() if verb and not verb.hidden}
    return found


def roff(text: str) -> str:
    """`text` with nothing in it that man would take as a command; what is laid out stays so."""
    paragraphs = cleandoc(text.partition("\f")[0]).split("\n\n")
    return "\n\n".join(_paragraph(each) for each in paragraphs)


def _paragraph(text: str) -> str:
    laid_out = text.startswith(PREFORMATTED)
    lines = [_line(line) for line in text.removeprefix(PREFORMATTED).split("\n")]
    return "\n".join([".nf", *lines, ".fi"] if laid_out else lines)


def _line(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.lstrip().startswith((".", "'")) else escaped


def _character(one: str) -> str:
    """As every troff reads it."""
    return one if one.isascii() else f"\\[u{ord(one):04X}]"


if __name__ == "__main__":
    main()
