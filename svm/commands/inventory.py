"""inventory and targets: the nodes of slices, for Ansible and for Prometheus."""

import json
from typing import TYPE_CHECKING

import click

from svm.arguments import SLICE
from svm.flags import current, flags
from svm.output import line
from svm.session import connect

if TYPE_CHECKING:
    from svm.client import Svmd
    from svm.inventories import Found

NAME = click.argument("name", type=SLICE, metavar="[SLICE]", required=False)


@click.command()
@NAME
@click.option("--list", "whole", is_flag=True, help="As Ansible asks a program for its inventory.")
@click.option("--host", metavar="HOST", help="How Ansible reaches one host of that list.")
@flags
def inventory(name: str | None, whole: bool, host: str | None) -> None:
    """Print an Ansible inventory of a slice, or of all your slices.

    SLICE's is a file for ansible -i FILE. For one that is always true make a program of it: a file that says
    exec svm inventory "$@" to the shell.
    """
    from svm.inventories import listed, of_slice

    if whole and host is not None:
        raise click.UsageError("--list and --host exclude each other")
    found = _found(connect(), name)
    if host is not None:
        _print(listed(found)["_meta"]["hostvars"].get(host, {}))
    elif name is not None and not whole:
        _print(of_slice(name, *found[name]))
    else:
        _print(listed(found))


@click.command()
@NAME
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=9100, show_default=True, help="Where nodes have metrics."
)
@flags
def targets(name: str | None, port: int) -> None:
    """Print Prometheus' targets: the nodes of a slice, or of all your slices.

    JSON, for file_sd_configs, or for a web server that http_sd_configs asks.
    """
    from svm.inventories import targets as listed

    _print(listed(_found(connect(), name), port))


def _found(svmd: "Svmd", name: str | None) -> "Found":
    from svm.sshconfig import hosts, write

    names = [name] if name else [each["name"] for each in svmd.slices() if each["state"] == "open"]
    found = {each: hosts(svmd.slice(each)) for each in names}
    return {each: (write(svmd.home.directory, each, there), there) for each, there in found.items()}


def _print(told: object) -> None:
    line(json.dumps(told, indent=None if current().json else 2))
