"""`dslice backup` and `dslice restore`: the whole of a small lab, at plc's machine."""

import os
from pathlib import Path

import click

from admin.lab.backup import Backup, Place, put_back, save
from admin.plc.context import Refused, ask_password
from svm.output import line, say
from trust.errors import Code, Refusal

DATABASE, FOLDERS, PROGRAMS = "DSLICE_BACKUP_DATABASE_URL", "DSLICE_BACKUP_FOLDERS", "DSLICE_BACKUP_PROGRAMS"

home_option = click.option(
    "--home",
    "home",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"A testbed's folder (default: {DATABASE} and {FOLDERS} in the environment, else $DSLICE_HOME, else .dslice).",
)
folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.command()
@folder_argument
@click.option("--encrypt", is_flag=True, help="Seal it with a passphrase, which is asked for (else a line of stdin).")
@home_option
def backup(folder: Path, encrypt: bool, home: Path | None) -> None:
    """Save the database, the CA and the keys into FOLDER.

    Daemons may run meanwhile. Whoever has it unsealed is plc: keep it as safe as the CA's key, or --encrypt it.
    """
    from trust.clock import system_clock

    try:
        place = _place(home)
        passphrase = ask_password("passphrase", twice=True) if encrypt else None
        found = save(folder, place, passphrase, system_clock().now())
    except Refusal as refusal:
        raise Refused(refusal) from refusal
    for name, size in found.items():
        line(f"{size:>12,}  {folder / name}")
    say(f"{'A sealed backup' if encrypt else 'A backup'} is in {folder}.")


@click.command()
@folder_argument
@home_option
def restore(folder: Path, home: Path | None) -> None:
    """Put back what dslice backup saved into FOLDER.

    All daemons are down, PostgreSQL is up. docs/operating.md, "Putting a backup back", says what to look at afterwards.
    """
    try:
        found = Backup.open(folder)
        place = _place(home)
        passphrase = ask_password("passphrase") if found.sealed else None
        before = put_back(found, place, passphrase)
    except Refusal as refusal:
        raise Refused(refusal) from refusal
    for path in before:
        if path.exists():
            line(f"What was there is in {path}: remove it when all is well.")
    say(f"The backup of {found.made_at[:16]} is back. Start the daemons, then: dslice orphans")


def _place(home: Path | None) -> Place:
    """Raises Refusal(BAD_INPUT)."""
    if home is not None or not os.environ.get(DATABASE):
        from admin.plc.here import of_testbed

        os.environ.update(of_testbed(home))
    url = os.environ.get(DATABASE, "").replace("postgresql+psycopg://", "postgresql://")
    words = [word.partition("=") for word in os.environ.get(FOLDERS, "").split(",") if word]
    if not url or not words or not all(name and path for name, _, path in words):
        raise Refusal(Code.BAD_INPUT, f"set {DATABASE}, and {FOLDERS} to plc=FOLDER,svmd=FOLDER")
    programs = os.environ.get(PROGRAMS)
    return Place(url, {name: Path(path) for name, _, path in words}, Path(programs) if programs else None)
