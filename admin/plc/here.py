"""The settings of the plc of this machine: from the environment where they are set, else from a testbed's home."""

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from plc.settings import Settings
from trust.errors import Code, Refusal

ON_PLC = ("DSLICE_DATABASE_URL", "DSLICE_STATE_DIR")


def settings_here(folder: Path | None) -> Settings:
    """plc's; those of the testbed in `folder` if one is given. Raises Refusal(BAD_INPUT) where there are none."""
    if in_testbed(folder):
        os.environ.update(of_testbed(folder))
    return Settings.load()


def in_testbed(folder: Path | None) -> bool:
    """Whether they are a testbed's."""
    return folder is not None or not all(os.environ.get(name) for name in ON_PLC)


def of_testbed(folder: Path | None) -> Mapping[str, str]:
    """The environment that a testbed gives its plc; the testbed says so by an entry point."""
    for point in entry_points(group="dslice.plc"):
        environment: Mapping[str, str] | None = point.load()(folder)
        if environment is not None:
            return environment
    where = folder or "this folder"
    raise Refusal(
        Code.BAD_INPUT,
        f"no testbed in {where}, and {' and '.join(ON_PLC)} are not set: run this on plc's machine, or with --as-me",
    )
