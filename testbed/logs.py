"""`dslice logs`: what the testbed's daemons have said, in one stream by time; and their files, kept from growing."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from rpc.files import replace_file
from testbed.home import Home, HomeError
from trust.errors import printable

LARGEST = 16 << 20  # bytes of a file; the one before it is kept
PAUSE = 0.2  # seconds between two looks for more
HIDDEN = ("timestamp", "level", "event", "role", "logger", "exception", "data")


@dataclass(slots=True)
class Log:
    """One daemon's file, read on from where the last look ended."""

    path: Path
    at: int = 0
    rest: bytes = field(default=b"", repr=False)

    def more(self) -> list[str]:
        """Its whole lines since then."""
        try:
            with self.path.open("rb") as found:
                if os.fstat(found.fileno()).st_size < self.at:
                    self.at, self.rest = 0, b""  # it was begun anew
                found.seek(self.at)
                read = found.read()
        except FileNotFoundError:
            return []
        self.at += len(read)
        *lines, self.rest = (self.rest + read).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]


def logs_of(home: Home, names: Sequence[str]) -> list[Log]:
    """Those of daemons with these names, or of these roles; without a name all. HomeError for one that has none."""
    there = {path.stem: path for path in sorted(home.logs.glob("*.log"))}
    found: dict[str, Path] = {} if names else there
    for name in names:
        alike = {stem: path for stem, path in there.items() if name in (stem, stem.rstrip("0123456789"))}
        if not alike:
            raise HomeError(f"no log of {name} here; there are {', '.join(there)}")
        found |= alike
    return [Log(path) for path in found.values()]


def lines(logs: Sequence[Log], *, follow: bool, as_json: bool) -> Iterator[str]:
    """What they say, by time; with `follow` for ever."""
    while True:
        said = [(line, log.path.stem) for log in logs for line in log.more()]
        rows = sorted(_row(line, name) for line, name in said) if said else ()
        for _, line, shown in rows:
            yield line if as_json else shown
        if not follow:
            return
        sleep(PAUSE)


def _row(line: str, name: str) -> tuple[str, str, str]:
    """When it was said, itself, and how people read it."""
    try:
        said: dict[str, Any] = json.loads(line)
        at = str(said["timestamp"])
    except (ValueError, TypeError, KeyError):  # of a program that is not ours, or a traceback at the start
        return "", line, f"{'':8} {name:<10} {printable(line, None)}"
    more = "".join(f" {key}={value}" for key, value in said.items() if key not in HIDDEN)
    level = "" if said.get("level") == "info" else f"{str(said.get('level')).upper()}: "
    text = printable(f"{level}{said.get('event')}{more}", None)
    shown = "".join(f"\n{'':20}{each}" for each in str(said.get("exception", "")).splitlines())
    return at, line, f"{at[11:19]} {name:<10} {text}{shown}"


def rotate(folder: Path) -> None:
    """Begin each file anew that has grown too large; what it had is in `NAME.log.1`. Its daemon writes at its end."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > LARGEST:
            replace_file(path.with_suffix(".log.1"), path.read_bytes(), durable=False)
            os.truncate(path, 0)
