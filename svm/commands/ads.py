"""getads: which nodes there are."""

from collections.abc import Mapping
from typing import Any

import click

from svm.columns import table
from svm.flags import current, flags
from svm.output import rows
from svm.session import connect
from trust.errors import printable

HEADS = ("NODE", "SITE", "PLACES", "MEMORY", "DISK", "QUOTA", "DRIVER", "IMAGES")


@click.command()
@click.argument("agent", required=False)
@click.option("--long", is_flag=True, help="Show what each has, free of all: places, memory, disk, images.")
@flags
def getads(agent: str | None, *, long: bool) -> None:
    """List the nodes that agents advertise.

    With AGENT, list only that agent's nodes.
    """
    found = connect().ads(agent)
    if long and not current().json:
        table(HEADS, [_long(ad) for ad in found])
        return
    rows(found, _address, as_json=current().json)


def _long(ad: Mapping[str, Any]) -> tuple[str, ...]:
    """A node's row; `-` for what it does not say."""
    address = f"{ad['address']} (simulated)" if ad["simulated"] else str(ad["address"])
    unpromised, free = ad.get("disk_unpromised_mb"), ad.get("disk_free_mb")
    images = ", ".join(printable(str(name), 63) for name in sorted(ad.get("images") or ()))
    places, memory = f"{ad['slots_free']} of {ad['slots']}", _mib(ad["memory_free_mb"], ad.get("memory_mb"))
    disk = _mib(free if unpromised is None else unpromised, ad.get("disk_mb"))
    site, quota = printable(str(ad["site"]), 64), printable(str(ad.get("quota") or "-"), 16)
    driver = printable(str(ad.get("driver") or "-"), 16)
    return address, site, places, memory, disk, quota, driver, images or "-"


def _mib(free: int | None, of: int | None) -> str:
    return "-" if free is None else f"{free:,} MiB" if of is None else f"{free:,} of {of:,} MiB"


def _address(ad: Mapping[str, object]) -> str:
    return str(ad["address"])
