"""What a person reads or evaluates: the exports of `dslice env`, the table of `dslice ps`."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.daemons import FLOWER, SHOWN, url
from testbed.home import ACCOUNTS, Home, HomeError


def settings(home: Home, email: str) -> dict[str, str]:
    """The environment of one user of this testbed. HomeError for an account that is not there."""
    if email not in ACCOUNTS:
        raise HomeError(f"no account {email} here; there are {', '.join(ACCOUNTS)}")
    plan = home.plan()
    if not home.ca_file.exists():
        raise HomeError(f"the testbed in {home.directory} has not been up yet: start it with 'dslice up'")
    return {
        "DSLICE_HOME": str(home.directory),
        "PLANETLAB_HOME": str(home.user(email)),
        "DSLICE_PLC_URL": url(plan, "plc"),
        "DSLICE_SVMD_URL": url(plan, "svmd"),
        "DSLICE_CA_FILE": str(home.ca_file),
        "DSLICE_IMAGES": str(home.images),
        "DSLICE_METRICS_FILE": str(home.metrics),
        "DSLICE_METRICS_TOKEN_FILE": str(home.secrets / SHOWN),
    }


def exports(home: Home, email: str) -> Iterator[str]:
    """Lines for a POSIX shell; the programs' folder goes in front of PATH."""
    for name, value in settings(home, email).items():
        yield f"export {name}={shlex.quote(value)}"
    yield f'export PATH={shlex.quote(str(programs()))}:"$PATH"'


def shown(path: Path) -> str:
    """A path as one types it here: relative where that is shorter, quoted where a shell needs it."""
    return shlex.quote(min(str(path), os.path.relpath(path), key=len))


def programs() -> Path:
    """The folder of `svm`, `plkeygen`, `pluserinfo` and `dslice`."""
    return Path(sys.prefix) / "bin"


def process_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """`dslice ps` for people, within 80 columns."""
    yield f"{'NAME':<10} {'ROLE':<9} {'PID':>7}  {'STATE':<9} ADDRESS"
    for row in rows:
        address = row["address"] if len(row["nodes"]) < 2 else f"{row['nodes'][0]} … {row['nodes'][-1]}"
        if row["role"] in ("database", "broker", "mail"):
            address = Path(address).name + " (unix socket)"
        if row["role"] == FLOWER:
            address += f" (dslice password {FLOWER})"
        yield f"{row['name']:<10} {row['role']:<9} {row['pid'] or '-':>7}  {row['state']:<9} {address}".rstrip()
