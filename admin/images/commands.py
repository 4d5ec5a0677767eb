"""`dslice image …`: root file systems that the slivers of this machine's nodes may begin as (docs/images.md)."""

import os
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import click

from admin.images.building import command
from admin.images.sources import entries
from admin.images.store import Added, Store
from admin.plc.context import Group, json_option, row
from nodemgr.images import Kept
from nodemgr.slivers.process import ownids
from rpc.settings import DaemonSettings
from trust.errors import Code, Refusal

NAME = click.argument("name")


class Settings(DaemonSettings):
    """What `dslice image` is told.

    Args:
        images: the folder, as this machine's nodes are told.
    """

    images: str = ""


@click.group(cls=Group)
def image() -> None:
    """Root file systems for the slivers of this machine's nodes.

    They are in the folder that DSLICE_IMAGES names.
    """


@image.command()
@NAME
@click.argument("source", type=click.Path(exists=True, path_type=Path))
def add(name: str, source: Path) -> None:
    """Keep a copy of the root file system in SOURCE.

    SOURCE is a tar (plain, gzip, bzip2 or xz) or a folder.
    """
    store = _store()
    _take_ids()
    _say(store.add(name, lambda: entries(source, store.folder), datetime.now(UTC)))


@image.command()
@NAME
@click.option("--suite", required=True, help="Debian's or Ubuntu's, such as bookworm.")
def build(name: str, suite: str) -> None:
    """Make a small Debian, from this machine's own package sources.

    By mmdebstrap; it takes some minutes.
    """
    store = _store()
    if name in {each.name for each in store.images()}:
        raise Refusal(Code.NAME_TAKEN, f"there is an image {name} already: choose another name")
    program = which("mmdebstrap")
    if program is None:
        raise Refusal(Code.BAD_INPUT, "mmdebstrap is not installed here: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix=".building-", dir=store.folder) as scratch:
        tar = Path(scratch, "root.tar")
        if subprocess.run([program, *command(suite, tar)], check=False).returncode:
            raise Refusal(Code.BAD_INPUT, f"mmdebstrap could not make {suite}; what it says above tells why")
        _take_ids()
        _say(store.add(name, lambda: entries(tar, store.folder), datetime.now(UTC)))


@image.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the images."""
    for each in _store().images():
        fields = {**asdict(each), "made_at": each.made_at.isoformat()}
        row(fields, f"{_line(each)}  {each.made_at:%Y-%m-%d %H:%M} UTC", as_json)


@image.command()
@NAME
def remove(name: str) -> None:
    """Remove an image.

    Refused while a node of this machine has a lease or a sliver of it.
    """
    store = _store()
    _take_ids()
    store.remove(name)


def _store() -> Store:
    folder = Settings.load().images
    if not folder:
        raise Refusal(Code.BAD_INPUT, "DSLICE_IMAGES is not set: name the folder that this machine's nodes are told")
    return Store(Path(folder))


def _take_ids() -> None:
    """Who is not root gives an image's files to the subordinate ids that its slivers have, if there are any."""
    if os.geteuid() != 0:
        with suppress(Refusal):
            ownids.enter()


def _say(added: Added) -> None:
    if added.left_out:
        click.echo(f"{added.left_out} devices were left out: the machine's root alone can make them.", err=True)
    click.echo(_line(added.image))


def _line(image: Kept) -> str:
    return f"{image.name}  {image.digest[:16]}  {image.size >> 20:,} MiB in {image.files:,} files"
