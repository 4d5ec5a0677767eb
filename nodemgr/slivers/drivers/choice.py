"""Which driver a node takes: the one its settings name, or with `auto` the first that works here."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from nodemgr.slivers.drivers.bubblewrap import BubblewrapDriver
from nodemgr.slivers.drivers.driver import TERMS, Driver, Terms
from nodemgr.slivers.drivers.machine import MachineDriver
from nodemgr.slivers.drivers.unshare import UnshareDriver
from nodemgr.slivers.inside.folder import first_pids
from nodemgr.slivers.process import ownids
from nodemgr.slivers.process.spawn import HELPER_ENVIRONMENT
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)
_DRIVERS = {driver.name: driver for driver in (MachineDriver, BubblewrapDriver, UnshareDriver)}


def take_ids(name: str, directory: Path) -> None:
    """Have this process become root of its user's subordinate ids where that driver can use them and it is not root; on
    the main thread, before there are others. `directory` as `open_driver` has it.

    Raises:
        Refusal: INTERNAL when `machine` was asked for by its name, and there are none.
    """
    if name not in ("auto", "machine") or os.geteuid() == 0:
        return
    try:
        ownids.enter(first_pids(directory))
    except Refusal as refusal:
        if name != "auto":
            raise
        log.warning("slivers have no root of their own here: %s", refusal.reason)


def open_driver(name: str, directory: Path, terms: Terms = TERMS) -> Driver:
    """The driver `name` (auto, machine, bubblewrap, unshare, podman) over the node manager's folder for slivers.

    Raises:
        Refusal: BAD_INPUT for another name (`simulated` is not made here); INTERNAL when this host cannot run it.
    """
    if name == "auto" and os.geteuid() == 0:
        try:
            return MachineDriver(directory, terms)
        except Refusal as refusal:
            log.warning("slivers have no root of their own here: %s", refusal.reason)
    if name == "auto":
        name = "bubblewrap" if shutil.which("bwrap", path=HELPER_ENVIRONMENT["PATH"]) else "unshare"
    if name == "podman":
        from nodemgr.slivers.drivers.podman import PodmanDriver

        return PodmanDriver(directory, terms=terms)
    if name in _DRIVERS:
        return _DRIVERS[name](directory, terms)
    raise Refusal(
        Code.BAD_INPUT, f"there is no sliver driver {name!r}; take auto, machine, bubblewrap, unshare or podman"
    )
